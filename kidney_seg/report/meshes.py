"""Smooth surfaces of kidneys and tumor for the report's 3-D view, of a few thousand triangles, packed as text."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.geometry.components import EMPTY, bounding_box, connected
from kidney_seg.metrics.overlap import tissue_masks

TRIANGLES = {"kidney": 5000, "tumor": 2500}  # about, per structure
FEWEST = 150  # triangles per object
FINEST = 0.25  # of the smallest edge of a voxel: the finest grid of a mesh
MOST_OBJECTS = 30  # per structure; smaller ones are left out
SMOOTHING = 0.6  # standard deviation, in steps of the mesh's grid or in voxels, whichever is more


@dataclass(frozen=True)
class Mesh:
    """A closed surface in right-handed axes (x to the patient's left, y to posterior, z to superior).

    vertices: (x, y, z) in mm, float32 [n, 3]; faces: int32 [m, 3], counterclockwise from outside; left_out: number of
    objects beyond the largest MOST_OBJECTS.
    """

    vertices: np.ndarray
    faces: np.ndarray
    left_out: int = 0


def surface(mask: np.ndarray, spacing_mm: Sequence[float], triangles: int = 2500) -> Mesh:
    """Return the surface of a boolean mask [z, y, x] with about so many triangles; an empty mask gives an empty mesh.

    Each 26-connected object gets a grid as fine as its share of the triangles allows, is smoothed, and is cut at the
    level that keeps its volume, so that specks neither vanish nor grow. Voxel (0, 0, 0) has its center at 0 mm.
    """
    import cc3d

    cut = bounding_box(mask)
    if cut is None:
        return Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    mask = np.ascontiguousarray(np.asarray(mask, bool)[cut])
    objects, total = connected(mask)
    objects, count = cc3d.largest_k(objects, k=MOST_OBJECTS, return_N=True, precomputed_ccl=True)
    boxes = cc3d.statistics(objects)["bounding_boxes"][1:]
    parts = [(box, objects[box] == number) for number, box in enumerate(boxes, 1)]
    areas = [_area_mm2(part, spacing_mm) for _, part in parts]
    vertices, faces, used = [], [], 0
    for (box, part), area in zip(parts, areas, strict=True):
        wanted = max(FEWEST, triangles * area / sum(areas))
        step_mm = max(math.sqrt(3 * area / wanted), FINEST * min(spacing_mm))  # marching cubes: 3 triangles a square
        found, corners = _object_surface(part, spacing_mm, step_mm)
        start = [(outer.start + inner.start) * mm for outer, inner, mm in zip(cut, box, spacing_mm, strict=True)]
        vertices.append((found + start)[:, ::-1])
        faces.append(corners + used)
        used += len(found)
    return Mesh(np.concatenate(vertices).astype(np.float32), np.concatenate(faces).astype(np.int32), total - count)


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


def _object_surface(part: np.ndarray, spacing_mm: Sequence[float], step_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices (z, y, x) in mm and faces of one object that fills its array."""
    from scipy.ndimage import gaussian_filter, map_coordinates
    from skimage.measure import marching_cubes

    fewer = [max(1, int(step_mm / mm)) for mm in spacing_mm]  # voxels per step of the mesh's grid
    soft, spacing = _pooled(part, fewer), np.asarray(spacing_mm, float) * fewer
    sigma = SMOOTHING * np.maximum(step_mm / spacing, 1.0)  # voxels
    margin = np.ceil(3 * sigma).astype(int) + 1
    soft = gaussian_filter(np.pad(soft, [(m, m) for m in margin]), sigma, mode="constant")
    counts = np.ceil((np.array(soft.shape) - 1) * spacing / step_mm).astype(int) + 1
    axes = [np.arange(count) * step_mm / mm for count, mm in zip(counts, spacing, strict=True)]
    grid = map_coordinates(soft, np.meshgrid(*axes, indexing="ij"), order=1, mode="constant")
    volume = np.count_nonzero(part) * math.prod(spacing_mm)
    inside = min(max(round(volume / step_mm**3), 1), grid.size - 1)
    level = float(-np.partition(-grid.ravel(), inside - 1)[inside - 1])
    level = min(max(level, 1e-3 * float(grid.max())), 0.999 * float(grid.max()))
    vertices, faces, _, _ = marching_cubes(grid, level, spacing=(step_mm,) * 3, gradient_direction="descent")
    first = (spacing - spacing_mm) / 2  # where the center of the first block lies
    return vertices - margin * spacing + first, faces


def _pooled(part: np.ndarray, fewer: Sequence[int]) -> np.ndarray:
    """Return the means, float32, of blocks of `fewer` voxels, padded with background."""
    padded = np.pad(part, [(0, -length % count) for length, count in zip(part.shape, fewer, strict=True)])
    blocks = [size for length, count in zip(padded.shape, fewer, strict=True) for size in (length // count, count)]
    return padded.reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float32)


def _area_mm2(part: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Return two thirds of the area of the voxels' outer faces, which is exact for a ball."""
    area = 0.0
    for axis in range(3):
        lines = np.moveaxis(part, axis, 0)
        faces = np.count_nonzero(lines[1:] != lines[:-1]) + np.count_nonzero(lines[[0, -1]])
        area += faces * math.prod(spacing_mm) / spacing_mm[axis]
    return area * 2 / 3


def _packed(mesh: Mesh, middle: np.ndarray, unit: float) -> dict[str, Any]:
    wide = len(mesh.vertices) > 65535
    vertices = np.round((mesh.vertices - middle) / unit).astype("<i2")
    faces = mesh.faces.astype("<u4" if wide else "<u2")
    text = {name: base64.b64encode(array.tobytes()).decode() for name, array in (("v", vertices), ("f", faces))}
    return {"vertices": text["v"], "faces": text["f"], "wide": wide, "mm": unit}
