"""Patients of the report's pictures: which ones, their telling slice with outlines, their surfaces."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from data_prep.errors import InputError, require
from kidney_seg.figures.style import WINDOW_HU
from kidney_seg.report.data import Files

MISSED = 6  # tumors that were missed altogether, the largest ones, with a picture
MARGIN_MM = 25.0
LEAST_MM = 110.0  # width and height of a picture
FEWEST_SLICES = 4  # for a 3-D view


@dataclass(frozen=True)
class Picture:
    """A slice: PNG as base64, its size in mm, and outlines by (source, structure) as SVG paths in mm."""

    png: str
    size_mm: tuple[float, float]  # width, height
    outlines: Mapping[tuple[str, str], str]
    slice_number: int  # from 1, from the feet
    slices: int
    hu: Mapping[str, float]  # mean HU of the true kidney (without its tumors) and tumor, where there is some


def choose(cases: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return (role, row) of the best, the median and the worst case by the Dice of the tumor.

    Only cases whose truth has a tumor count; without any, those with a kidney, by its Dice. Among the worst, the one
    with the largest tumor. Fewer than three cases give fewer rows.
    """
    name = "tumor" if any(row["tumor_ml"] for row in cases) else "kidney"
    ranked = [row for row in cases if row[f"{name}_ml"] and row[name] is not None]
    ranked.sort(key=lambda row: (row[name], -row[f"{name}_ml"]), reverse=True)
    if len(ranked) < 3:
        return list(zip(("best", "worst"), ranked, strict=False))
    return [("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])]


def missed(cases: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the cases with a tumor of which nothing was found (Dice 0), largest tumor first."""
    found = [row for row in cases if row["tumor_ml"] and row["tumor"] == 0]
    return sorted(found, key=lambda row: -row["tumor_ml"])


def draw_case(files: Files | None, solid: bool) -> tuple[Picture | None, list[dict[str, Any]] | None, str]:
    """Return the picture of a case, its truth and prediction as meshes where `solid`, and a reason where one is None.

    The slice is the one with most of the true tumor (else kidney, else prediction). A file that is gone or cannot be
    read is a reason, no error.
    """
    from data_prep.geometry.source_grid import same_grid
    from data_prep.volume import read_labels, read_volume

    there: dict[str, Path] = {}
    for what in ("image", "truth", "prediction"):
        path = getattr(files, what, None)
        if path is None or not path.exists():
            return None, None, f"No picture: the file of its {what} is not where it was."
        there[what] = path
    try:
        volume = read_volume(there["image"])
        truth, predicted = read_labels(there["truth"]), read_labels(there["prediction"])
    except InputError:
        return None, None, "No picture: one of its files cannot be read."
    if not same_grid(truth.source, predicted.source) or volume.voxels.shape != truth.voxels.shape:
        return None, None, "No picture: its image and labels do not lie on one grid."
    picture = draw(volume.voxels, truth.voxels, predicted.voxels, volume.spacing_mm)
    if not solid:
        return picture, None, ""
    if len(volume.voxels) < FEWEST_SLICES:
        count = len(volume.voxels)
        return picture, None, f"No 3-D view: the case has {count} slice{'s' * (count != 1)}."
    if not (truth.voxels.any() or predicted.voxels.any()):
        return picture, None, "No 3-D view: neither truth nor prediction has a kidney."
    try:
        require("skimage.measure", "report")
    except InputError as error:
        return picture, None, f"No 3-D view: {error}."
    from kidney_seg.report.meshes import scene

    return picture, scene([truth.voxels, predicted.voxels], volume.spacing_mm), ""


def draw(
    image_hu: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    spacing_mm: Sequence[float],
) -> Picture:
    """Return the telling slice of arrays [z, y, x] of one shape, cut out around its labels; gray is WINDOW_HU."""
    from PIL import Image

    shown = next((mask for mask in (truth == 2, truth > 0, predicted > 0) if mask.any()), truth > 0)
    z = int(shown.sum(axis=(1, 2)).argmax())
    box = _box((truth[z] > 0) | (predicted[z] > 0), spacing_mm[1:])
    low, high = WINDOW_HU
    gray = np.clip((image_hu[z][box].astype(np.float32) - low) / (high - low), 0, 1)
    file = io.BytesIO()
    Image.fromarray(np.round(255 * gray).astype(np.uint8)).save(file, "PNG", optimize=True)
    outlines = {}
    for source, labels in (("truth", truth), ("prediction", predicted)):
        here = labels[z][box]
        for structure, mask in (("kidney", here > 0), ("tumor", here == 2)):
            if mask.any():
                outlines[source, structure] = outline(mask, spacing_mm[1:])
    masks = {"kidney": (truth == 1) | (truth == 3), "tumor": truth == 2}
    hu = {name: float(image_hu[mask].mean()) for name, mask in masks.items() if mask.any()}
    size = (gray.shape[1] * spacing_mm[2], gray.shape[0] * spacing_mm[1])
    return Picture(base64.b64encode(file.getvalue()).decode(), size, outlines, z + 1, len(image_hu), hu)


def outline(mask: np.ndarray, spacing_mm: Sequence[float]) -> str:
    """Return the outline of a boolean mask [y, x] as an SVG path in mm, the first pixel's corner being (0, 0).

    >>> outline(np.ones((1, 1), bool), (2.0, 1.0))
    'M0.0 1.0L0.5 0.0L1.0 1.0L0.5 2.0L0.0 1.0Z'
    """
    from contourpy import contour_generator

    lines = contour_generator(z=np.pad(mask, 1).astype(np.float64)).lines(0.5)
    lines = cast(list[np.ndarray], lines)  # so they are with the default `line_type`
    height, width = spacing_mm
    parts = []
    for line in lines:
        points = [f"{(x - 0.5) * width:.1f} {(y - 0.5) * height:.1f}" for x, y in line]
        parts.append("M" + "L".join(points) + "Z")
    return "".join(parts)


def _box(mask: np.ndarray, spacing_mm: Sequence[float]) -> tuple[slice, slice]:
    """Return the box around a mask with its margin, LEAST_MM wide and high at least; everything where it is empty."""
    spans = []
    for axis, mm in enumerate(spacing_mm):
        length = mask.shape[axis]
        inside = np.flatnonzero(mask.any(axis=1 - axis))
        if not len(inside):
            spans.append(slice(0, length))
            continue
        low, high = inside[0] - MARGIN_MM / mm, inside[-1] + 1 + MARGIN_MM / mm
        lacking = max(0.0, LEAST_MM / mm - (high - low)) / 2
        spans.append(slice(max(0, math.floor(low - lacking)), min(length, math.ceil(high + lacking))))
    return spans[0], spans[1]
