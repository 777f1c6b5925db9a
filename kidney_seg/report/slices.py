"""The report's pictures of a case: its most informative slice with outlines, and its surfaces."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from data_prep.errors import InputError, require
from data_prep.geometry.components import bounding_box
from kidney_seg.figures.overlays import most_informative_z
from kidney_seg.figures.style import windowed
from kidney_seg.metrics.overlap import tissue_masks, tumor_mask
from kidney_seg.report.files import Files, WithoutTruth

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
    hu: Mapping[str, float]  # mean HU of the true kidney (without its tumors) and tumor, if any

    @property
    def sources(self) -> list[str]:
        """Return which of "prediction" and "truth" have outlines."""
        return sorted({source for source, _ in self.outlines})


@dataclass(frozen=True)
class CaseArrays:
    """A case on its image's grid: HU and labels by name ("truth", "prediction"), [z, y, x]; spacing (z, y, x) in mm."""

    image_hu: np.ndarray
    labels: Mapping[str, np.ndarray]
    spacing_mm: tuple[float, float, float]


@lru_cache(maxsize=1)
def read_case(files: Files | None) -> CaseArrays | str:
    """Return the arrays of a case, or why there are none: a missing or unreadable file is a reason, not an error.

    The truth may be unknown (None).
    """
    from data_prep.geometry.placement import place_labels
    from data_prep.volume import read_labels, read_volume

    paths: dict[str, Path] = {}
    for what in ("image", "truth", "prediction"):
        path = getattr(files, what, None)
        if what == "truth" and isinstance(files, WithoutTruth):
            continue
        if path is None or not path.exists():
            return f"No picture: the file of its {what} does not exist any more."
        paths[what] = path
    try:
        volume = read_volume(paths.pop("image"))
        labels = {what: read_labels(path) for what, path in paths.items()}
    except InputError:
        return "No picture: one of its files is unreadable."
    try:
        placed = {what: place_labels(one, volume.source).voxels for what, one in labels.items()}
    except InputError:
        return "No picture: its image and labels do not lie on one grid."
    return CaseArrays(volume.voxels, placed, volume.spacing_mm)


def draw_case(files: Files | None, solid: bool) -> tuple[Picture | None, list[dict[str, Any]] | None, str]:
    """Return the picture of a case, its truth and prediction as meshes if `solid`, and a reason if one is None.

    A missing or unreadable file is a reason, not an error.
    """
    found = read_case(files)
    if isinstance(found, str):
        return None, None, found
    truth, predicted = found.labels["truth"], found.labels["prediction"]
    picture = draw_slice(found.image_hu, truth, predicted, found.spacing_mm)
    if not solid:
        return picture, None, ""
    if len(found.image_hu) < FEWEST_SLICES:
        count = len(found.image_hu)
        return picture, None, f"No 3-D view: the case has {count} slice{'s' * (count != 1)}."
    if not (truth.any() or predicted.any()):
        return picture, None, "No 3-D view: neither truth nor prediction has a kidney."
    try:
        require("skimage.measure", "report")
    except InputError as error:
        return picture, None, f"No 3-D view: {error}."
    from kidney_seg.report.meshes import scene

    return picture, scene([truth, predicted], found.spacing_mm), ""


def draw_slice(image_hu: np.ndarray, truth: np.ndarray, predicted: np.ndarray, spacing_mm: Sequence[float]) -> Picture:
    """Return the most informative slice of arrays [z, y, x] of one shape, cropped to its labels with a margin."""
    from PIL import Image

    z = most_informative_z(truth, predicted)
    box = _box((truth[z] > 0) | (predicted[z] > 0), spacing_mm[1:])
    gray = windowed(image_hu[z][box])
    file = io.BytesIO()
    Image.fromarray(np.round(255 * gray).astype(np.uint8)).save(file, "PNG", optimize=True)
    outlines = {}
    for source, labels in (("truth", truth), ("prediction", predicted)):
        here = labels[z][box]
        for structure, mask in (("kidney", here > 0), ("tumor", tumor_mask(here))):
            if mask.any():
                outlines[source, structure] = outline(mask, spacing_mm[1:])
    hu = {name: float(image_hu[mask].mean()) for name, mask in tissue_masks(truth).items() if mask.any()}
    size = (gray.shape[1] * spacing_mm[2], gray.shape[0] * spacing_mm[1])
    return Picture(base64.b64encode(file.getvalue()).decode(), size, outlines, z + 1, len(image_hu), hu)


def outline(mask: np.ndarray, spacing_mm: Sequence[float]) -> str:
    """Return the outline of a boolean mask [y, x] as an SVG path in mm; (0, 0) is the corner of the first pixel.

    >>> outline(np.ones((1, 1), bool), (2.0, 1.0))
    'M0.0 1.0L0.5 0.0L1.0 1.0L0.5 2.0L0.0 1.0Z'
    """
    from contourpy import contour_generator

    contours = contour_generator(z=np.pad(mask, 1).astype(np.float64)).lines(0.5)
    lines = cast(list[np.ndarray], contours)  # their type with the default `line_type`
    height, width = spacing_mm
    parts = []
    for line in lines:
        points = [f"{(x - 0.5) * width:.1f} {(y - 0.5) * height:.1f}" for x, y in line]
        parts.append("M" + "L".join(points) + "Z")
    return "".join(parts)


def _box(mask: np.ndarray, spacing_mm: Sequence[float]) -> tuple[slice, ...]:
    """Return the box around a mask with its margin, at least LEAST_MM wide and high; the whole slice if it is empty."""
    box = bounding_box(mask[np.newaxis])
    if box is None:
        return slice(None), slice(None)
    sides = zip(box[1:], spacing_mm, strict=True)
    margin_px = [math.ceil(max(MARGIN_MM / mm, (LEAST_MM / mm - side.stop + side.start) / 2)) for side, mm in sides]
    return (bounding_box(mask[np.newaxis], margin=(0, *margin_px)) or box)[1:]
