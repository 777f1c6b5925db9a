"""Each kidney and each tumor object of a label map: side, volumes, diameter, and the image's edges that cut it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from data_prep.geometry.components import bounding_box, connected_objects, largest_diameter_mm, surface_voxels
from data_prep.geometry.types import Box, triple
from data_prep.labels import IDS
from kidney_seg.postprocess.kidneys import Bodies

# On 126 KiTS19 label maps the centroids of two kidneys lie 76 mm apart or more along x and never on one side of the
# image's middle; of 249 kidneys one has its centroid 14 mm from it, all others 33 mm or more.
MIDDLE_MM = 20.0  # nearer to the middle, the side of one kidney is not known
APART_MM = 40.0  # nearer to each other along x, the sides of two kidneys are not known
TUMOR_ML = 0.1  # smaller objects are summed up; of 164 true tumor objects 26 are, with .13 mL all together
TISSUE_HU = -300  # above it is body (and table), below it air and lung
_EDGES = (("lowest slice", "highest slice"), ("front edge", "back edge"), ("right edge", "left edge"))


class _Tumor(TypedDict):
    """One tumor, ready for JSON."""

    volume_ml: float
    diameter_mm: float
    side: str
    in_kidney: bool
    slices: list[int]


def describe_anatomy(
    labels: np.ndarray, bodies: Bodies | None, spacing_mm: Sequence[float], hu_zyx: np.ndarray | None = None
) -> dict[str, Any]:
    """Return `kidneys`, `tumors` and `small_tumors` of a label map [z, y, x] in LPS axial order.

    bodies: `find_bodies` of the labels; hu_zyx: the image, for the body's middle, else the middle of the map is taken.
    Both lists have the largest first, and are empty where there is none. A kidney is a whole object: kidney_ml,
    tumor_ml and cyst_ml are the parts of its volume_ml. slices: first and last, from 0 at the patient's lower end.
    A tumor object is 26-connected voxels with label 2; those under `TUMOR_ML` are only counted. Its side is that of
    the kidney it is part of, or nearest to.
    """
    if bodies is None:
        return {"kidneys": [], "tumors": [], "small_tumors": {"objects": 0, "volume_ml": 0.0}}
    numbers = [int(number) for number in bodies.order if bodies.is_kidney[number]]
    middle_mm = _middle_mm(labels.shape, bodies, spacing_mm, hu_zyx)
    masks = [bodies.ids == number for number in numbers]
    from_middle = [_center_x_mm(mask, bodies.box, spacing_mm) - middle_mm for mask in masks]
    sides = _sides(from_middle)
    kidneys = [
        _kidney(mask, labels, bodies, number, side) for mask, number, side in zip(masks, numbers, sides, strict=True)
    ]
    tumors: list[_Tumor] = []
    small = []
    for mask, box in _tumor_objects(labels, bodies.box):
        volume_ml = float(np.count_nonzero(mask) * bodies.voxel_ml)
        if volume_ml < TUMOR_ML:
            small.append(volume_ml)
            continue
        body = int(bodies.ids[_within(box, bodies.box)][mask][0])
        side = _nearest_side(mask, box, body, dict(zip(numbers, sides, strict=True)), bodies, spacing_mm)
        if side == "unknown":  # of no kidney, or of one that spans the middle
            side = _sides([_center_x_mm(mask, box, spacing_mm) - middle_mm])[0]
        tumors.append(
            {
                "volume_ml": volume_ml,
                "diameter_mm": largest_diameter_mm(mask, spacing_mm),
                "side": side,
                "in_kidney": bool(bodies.is_kidney[body]),
                "slices": [box[0].start, box[0].stop - 1],
            }
        )
    tumors.sort(key=lambda tumor: -tumor["volume_ml"])
    return {
        "kidneys": kidneys,
        "tumors": tumors,
        "small_tumors": {"objects": len(small), "volume_ml": float(sum(small))},
    }


def volumes_ml(labels: np.ndarray, voxel_ml: float) -> dict[str, float]:
    """Return the volume of each label in an array of labels: `kidney`, `tumor`, `cyst`; 0 where there is none."""
    return {name: float(np.count_nonzero(labels == label) * voxel_ml) for name, label in IDS.items()}


def _kidney(mask: np.ndarray, labels: np.ndarray, bodies: Bodies, number: int, side: str) -> dict[str, Any]:
    parts = volumes_ml(labels[bodies.box][mask], bodies.voxel_ml)
    own = bounding_box(mask) or bodies.box  # a kidney has voxels
    span = [(part.start + side.start, part.start + side.stop - 1) for part, side in zip(bodies.box, own, strict=True)]
    at_edge = [(first == 0, last == size - 1) for (first, last), size in zip(span, labels.shape, strict=True)]
    return {
        "side": side,
        "volume_ml": float(bodies.voxels[number] * bodies.voxel_ml),
        **{f"{name}_ml": volume for name, volume in parts.items()},
        "slices": list(span[0]),
        "cut_by": [name for axis in range(3) for name, cut in zip(_EDGES[axis], at_edge[axis], strict=True) if cut],
    }


def _tumor_objects(labels: np.ndarray, box: Box) -> Iterator[tuple[np.ndarray, Box]]:
    ids, _, boxes = connected_objects(labels[box] == IDS["tumor"])
    for number, own in enumerate(boxes[1:], 1):
        place = triple(
            slice(part.start + inner.start, part.start + inner.stop) for part, inner in zip(box, own, strict=True)
        )
        yield ids[own] == number, place


def _within(box: Box, outer: Box) -> Box:
    return triple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, outer, strict=True))


def _center_x_mm(mask: np.ndarray, box: Box, spacing_mm: Sequence[float]) -> float:
    """Return the centroid along x of a mask that fills `box` of its map, in mm from the edge of the first voxel."""
    columns = mask.sum(axis=(0, 1))
    return float((box[2].start + 0.5 + columns @ np.arange(columns.size) / columns.sum()) * spacing_mm[2])


def _middle_mm(
    shape_zyx: Sequence[int], bodies: Bodies, spacing_mm: Sequence[float], hu_zyx: np.ndarray | None
) -> float:
    """Return where the middle is along x: of the tissue in the objects' middle slice, or of the map without image."""
    if hu_zyx is not None:
        part = bodies.box[0]
        columns = np.count_nonzero(hu_zyx[(part.start + part.stop) // 2] > TISSUE_HU, axis=0)
        if columns.any():
            return float((0.5 + columns @ np.arange(columns.size) / columns.sum()) * spacing_mm[2])
    return shape_zyx[2] * spacing_mm[2] / 2


def _sides(from_middle_mm: Sequence[float]) -> list[str]:
    """Name the side of one or two things by their places along x, which ascends to the patient's left."""
    if len(from_middle_mm) == 2:
        first, second = from_middle_mm
        if abs(first - second) < APART_MM:
            return ["unknown"] * 2
        return ["left", "right"] if first > second else ["right", "left"]
    return ["unknown" if abs(mm) < MIDDLE_MM else "left" if mm > 0 else "right" for mm in from_middle_mm]


def _nearest_side(
    mask: np.ndarray,
    box: Box,
    body: int,
    sides: Mapping[int, str],
    bodies: Bodies,
    spacing_mm: Sequence[float],
) -> str:
    if body in sides:
        return sides[body]
    if len(set(sides.values())) < 2:
        return next(iter(sides.values()), "unknown")
    from scipy.spatial import cKDTree

    own = cKDTree(
        (surface_voxels(mask) + [a.start - b.start for a, b in zip(box, bodies.box, strict=True)]) * spacing_mm
    )
    return min(
        (float(own.query(surface_voxels(bodies.ids == number) * np.asarray(spacing_mm))[0].min()), side)
        for number, side in sides.items()
    )[1]
