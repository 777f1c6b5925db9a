"""Surfaces of kidneys and tumor for the report's 3-D view, of a few thousand triangles, packed as text."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_prep.geometry.components import EMPTY, bounding_box
from kidney_seg.metrics.overlap import tissue_masks
from kidney_seg.postprocess.surfaces import Mesh, surface

TRIANGLES = {"kidney": 5000, "tumor": 2500}  # about, per structure


def scene(labels: Sequence[np.ndarray], spacing_mm: Sequence[float]) -> list[dict[str, Any]]:
    """Return label maps [z, y, x] of one grid, such as truth and prediction, as meshes for JavaScript.

    Each is {"kidney": mesh, "tumor": mesh}. A mesh is base64 of little-endian integers: `vertices` (int16, x y z) and
    `faces` (uint16, or uint32 if `wide`); one unit is `mm`. All share one scale, and the origin is the center of them
    all. Cysts (label 3) are kidney.
    """
    spacing_mm = tuple(float(mm) for mm in spacing_mm)
    box = bounding_box(*map(np.asarray, labels)) or EMPTY  # masks of whole scans are large
    masks = [tissue_masks(np.asarray(one)[box]) for one in labels]
    meshes = [{name: surface(mask, spacing_mm, TRIANGLES[name]) for name, mask in each.items()} for each in masks]
    corners = [mesh.vertices for each in meshes for mesh in each.values() if len(mesh.vertices)]
    points = np.concatenate(corners) if corners else np.zeros((1, 3))
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    unit = max(float(np.abs(points - middle).max()), 1.0) / 32767
    return [{name: _packed(mesh, middle, unit) for name, mesh in each.items()} for each in meshes]


def _packed(mesh: Mesh, middle: np.ndarray, unit: float) -> dict[str, Any]:
    wide = len(mesh.vertices) > 65535
    vertices = np.round((mesh.vertices - middle) / unit).astype("<i2")
    faces = mesh.faces.astype("<u4" if wide else "<u2")
    text = {name: base64.b64encode(array.tobytes()).decode() for name, array in (("v", vertices), ("f", faces))}
    return {"vertices": text["v"], "faces": text["f"], "wide": wide, "mm": unit}
