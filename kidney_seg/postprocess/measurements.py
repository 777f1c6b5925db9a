"""Measure each kidney and each tumor of a label map: side, volumes, diameter, slices, and edges that cut it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from data_prep.geometry.components import connected_objects, largest_diameter_mm, surface_voxels
from data_prep.geometry.types import Box, triple
from data_prep.labels import IDS, TUMOR
from kidney_seg.postprocess.kidneys import Components

# In 126 KiTS19 label maps, the centroids of two kidneys are 76 mm or more apart along x and never on one side of the
# image's middle; of 249 kidneys, one has its centroid 14 mm from the middle, all others 33 mm or more.
MIDDLE_MM = 20.0  # closer to the middle, the side of a single kidney is unknown
APART_MM = 40.0  # closer to each other along x, the sides of two kidneys are unknown
SMALL_TUMOR_ML = 0.1  # smaller objects are only summed; 26 of 164 true tumor objects are, with .13 mL in total
TISSUE_HU = -300  # body (and table) are above it, air and lung below
_EDGES = (("lowest slice", "highest slice"), ("front edge", "back edge"), ("right edge", "left edge"))


class _Tumor(TypedDict):
    """One tumor, ready for JSON."""

    volume_ml: float
    diameter_mm: float
    side: str
    in_kidney: bool
    slices: list[int]


def describe_anatomy(
    labels: np.ndarray, found: Components | None, spacing_mm: Sequence[float], hu_zyx: np.ndarray | None = None
) -> dict[str, Any]:
    """Return `kidneys`, `tumors` and `small_tumors` of a label map; both lists have the largest first and may be empty.

    A kidney is a whole object: kidney_ml, tumor_ml and cyst_ml are the parts of its volume_ml. A tumor is 26-connected
    voxels with label 2, on the side of the kidney that it is part of or nearest to; objects under `SMALL_TUMOR_ML` are
    only counted. slices: first and last, from 0 at the patient's lower end.

    Args:
        labels: integers [z, y, x] in LPS axial order.
        found: `find_kidneys` of the labels.
        spacing_mm: of the three axes.
        hu_zyx: the image, which gives the middle of the body; the middle of the map is used without it.
    """
    if found is None:
        return {"kidneys": [], "tumors": [], "small_tumors": {"objects": 0, "volume_ml": 0.0}}
    middle_mm = _middle_mm(labels.shape, found, spacing_mm, hu_zyx)

    def from_middle_mm(mask: np.ndarray, box: Box) -> float:
        return _center(mask.sum(axis=(0, 1)), box[2].start) * spacing_mm[2] - middle_mm

    masks = {number: found.ids == number for number in found.kidneys}
    sides = dict(zip(masks, _sides([from_middle_mm(mask, found.box) for mask in masks.values()]), strict=True))
    near = _Kidneys(masks, sides, spacing_mm)
    tumors: list[_Tumor] = []
    small = []
    for mask, box in _tumor_objects(labels, found.box):
        volume_ml = float(np.count_nonzero(mask) * found.voxel_ml)
        if volume_ml < SMALL_TUMOR_ML:
            small.append(volume_ml)
            continue
        inner = triple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, found.box, strict=True))
        number = int(found.ids[inner][mask][0])
        side = sides.get(number) or _nearest_side(surface_voxels(mask) + [part.start for part in inner], near)
        if side == "unknown":  # of no kidney, or of one that spans the middle
            side = _sides([from_middle_mm(mask, box)])[0]
        tumors.append(
            {
                "volume_ml": volume_ml,
                "diameter_mm": largest_diameter_mm(mask, spacing_mm),
                "side": side,
                "in_kidney": number in sides,
                "slices": [box[0].start, box[0].stop - 1],
            }
        )
    return {
        "kidneys": [_kidney(masks[number], labels, found, number, side) for number, side in sides.items()],
        "tumors": sorted(tumors, key=lambda tumor: -tumor["volume_ml"]),
        "small_tumors": {"objects": len(small), "volume_ml": float(sum(small))},
    }


def volumes_ml(labels: np.ndarray, voxel_ml: float) -> dict[str, float]:
    """Return the volumes of `kidney`, `tumor` and `cyst` in an array of labels."""
    return {name: float(np.count_nonzero(labels == label) * voxel_ml) for name, label in IDS.items()}


def _kidney(mask: np.ndarray, labels: np.ndarray, found: Components, number: int, side: str) -> dict[str, Any]:
    span = [
        (outer.start + inner.start, outer.start + inner.stop - 1)
        for outer, inner in zip(found.box, found.boxes[number], strict=True)
    ]
    cut = [(first == 0, last == size - 1) for (first, last), size in zip(span, labels.shape, strict=True)]
    return {
        "side": side,
        "volume_ml": float(found.voxels[number] * found.voxel_ml),
        **{f"{name}_ml": ml for name, ml in volumes_ml(labels[found.box][mask], found.voxel_ml).items()},
        "slices": list(span[0]),
        "cut_by": [name for axis in range(3) for name, is_cut in zip(_EDGES[axis], cut[axis], strict=True) if is_cut],
    }


def _tumor_objects(labels: np.ndarray, box: Box) -> Iterator[tuple[np.ndarray, Box]]:
    ids, _, boxes = connected_objects(labels[box] == TUMOR)
    for number, own in enumerate(boxes[1:], 1):
        place = triple(
            slice(part.start + inner.start, part.start + inner.stop) for part, inner in zip(box, own, strict=True)
        )
        yield ids[own] == number, place


def _center(counts: np.ndarray, first: int = 0) -> float:
    """Return the mean position of counts along an axis that begins at voxel `first`, in voxels from the map's edge."""
    return float(first + 0.5 + counts @ np.arange(counts.size) / counts.sum())


def _middle_mm(
    shape_zyx: Sequence[int], found: Components, spacing_mm: Sequence[float], hu_zyx: np.ndarray | None
) -> float:
    """Return the middle along x: of the tissue in the objects' middle slice, or of the map without an image."""
    if hu_zyx is not None:
        part = found.box[0]
        columns = np.count_nonzero(hu_zyx[(part.start + part.stop) // 2] > TISSUE_HU, axis=0)
        if columns.any():
            return _center(columns) * spacing_mm[2]
    return shape_zyx[2] * spacing_mm[2] / 2


def _sides(from_middle_mm: Sequence[float]) -> list[str]:
    """Return the sides of objects by their positions along x, which ascends to the patient's left."""
    if len(from_middle_mm) == 2:
        first, second = from_middle_mm
        if abs(first - second) < APART_MM:
            return ["unknown"] * 2
        return ["left", "right"] if first > second else ["right", "left"]
    return ["unknown" if abs(mm) < MIDDLE_MM else "left" if mm > 0 else "right" for mm in from_middle_mm]


class _Kidneys:
    """The kidneys' sides, and the distance of voxels to each kidney's surface, which is found when first asked for."""

    def __init__(self, masks: Mapping[int, np.ndarray], sides: Mapping[int, str], spacing_mm: Sequence[float]):
        self.masks, self.sides, self.spacing_mm = masks, sides, np.asarray(spacing_mm)
        self._trees: dict[int, Any] = {}

    def distance_mm(self, number: int, voxels: np.ndarray) -> float:
        """Return the smallest distance of one of the voxels, [n, 3], to the kidney of a number."""
        if number not in self._trees:
            from scipy.spatial import cKDTree

            self._trees[number] = cKDTree(surface_voxels(self.masks[number]) * self.spacing_mm)
        return float(self._trees[number].query(voxels * self.spacing_mm)[0].min())


def _nearest_side(voxels: np.ndarray, kidneys: _Kidneys) -> str:
    """Return the side of the kidney that is nearest to an object with these surface voxels."""
    if len(set(kidneys.sides.values())) < 2:
        return next(iter(kidneys.sides.values()), "unknown")
    return min((kidneys.distance_mm(number, voxels), side) for number, side in kidneys.sides.items())[1]
