"""Objects of a label map, which of them are kidneys, and how far things are apart. In millimeters and milliliters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.connected import connected
from data_prep.triples import Box, triple

TOLERANCE = 1e-6  # of a limit, relative: rounding in single precision must not decide


@dataclass(frozen=True)
class Bodies:
    """The 26-connected objects of a label map: voxels with label > 0 that touch by face, edge or corner.

    box: the part of the map [z, y, x] that holds them all; ids: their numbers in it, 0 is background;
    voxels: int64 [n + 1], by number, 0 for the background; boxes: the part of `ids` that holds each object, by number;
    is_kidney: bool [n + 1].
    """

    box: Box
    ids: np.ndarray
    voxels: np.ndarray
    boxes: list[Box]
    is_kidney: np.ndarray
    voxel_ml: float

    @property
    def order(self) -> np.ndarray:
        """The numbers, largest object first."""
        return 1 + np.argsort(-self.voxels[1:], kind="stable")


def find_bodies(labels: np.ndarray, spacing_mm: Sequence[float], kidney_ml: float) -> Bodies | None:
    """Return the objects of integers [z, y, x]; None where there is none.

    The kidneys are the two largest objects among those of at least `kidney_ml`: all of them where equal sizes leave
    no second largest, one where no other is that large, none where nothing is.
    """
    box = bounding_box(labels > 0)
    if box is None:
        return None
    ids, voxels, boxes = connected_objects(labels[box] > 0)
    voxel_ml = math.prod(sorted(spacing_mm)) / 1000.0  # sorted: the same product whatever the order of the axes
    is_kidney = voxels * voxel_ml >= kidney_ml * (1 - TOLERANCE)
    is_kidney[0] = False
    if np.count_nonzero(is_kidney) > 2:
        second = np.sort(voxels[is_kidney])[-2]
        is_kidney &= voxels >= second
    return Bodies(box, ids, voxels, boxes, is_kidney, voxel_ml)


def connected_objects(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[Box]]:
    """Return the 26-connected objects of a mask [z, y, x]: numbers, voxels by number, box by number.

    Number 0 is what is outside of the mask, and has 0 voxels.
    """
    import cc3d

    ids, _ = connected(mask)
    found = cc3d.statistics(ids)
    voxels = found["voxel_counts"].astype(np.int64)
    voxels[0] = 0
    return ids, voxels, found["bounding_boxes"]


def bounding_box(mask: np.ndarray) -> Box | None:
    """Return the smallest box that holds all of a mask [z, y, x]; None where it is empty."""
    box = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if filled.size == 0:
            return None
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return triple(box)


def distances_mm(bodies: Bodies, spacing_mm: Sequence[float], limit_mm: float, beyond: bool = True) -> np.ndarray:
    """Return each object's distance to the nearest kidney by its number: 0 for kidneys, NaN where there is none.

    It is the distance between the surfaces, as voxels have it: from the center of a kidney's outermost voxel to that
    of the object's, where the two come nearest. The empty gap between them is up to one voxel edge less. As far as
    `limit_mm` a distance map of the kidneys' surroundings tells it (a whole CT can have 1059 x 512 x 512 voxels),
    beyond it the nearest of the surfaces' voxels; without `beyond`, which takes most of the time, it is inf there.
    """
    if not bodies.is_kidney.any():
        return np.full(bodies.voxels.size, math.nan)
    distances = np.where(bodies.is_kidney, 0.0, math.inf)
    distances[0] = 0.0
    if not np.isfinite(distances).all():
        _measure_near(bodies, spacing_mm, limit_mm, distances)
    if beyond and not np.isfinite(distances).all():
        _measure_far(bodies, spacing_mm, distances)
    return distances


def _measure_near(bodies: Bodies, spacing_mm: Sequence[float], limit_mm: float, distances: np.ndarray) -> None:
    import edt

    kidneys = [bodies.boxes[number] for number in np.flatnonzero(bodies.is_kidney)]
    near = tuple(
        slice(max(0, min(box[axis].start for box in kidneys) - reach), max(box[axis].stop for box in kidneys) + reach)
        for axis, mm in enumerate(spacing_mm)
        for reach in [math.ceil(min(limit_mm / mm, bodies.ids.shape[axis])) + 1]
    )
    ids = bodies.ids[near]
    is_kidney = bodies.is_kidney[ids]
    to_kidney = edt.edt(~is_kidney, anisotropy=tuple(spacing_mm))  # float32 [z, y, x]
    others = (ids > 0) & ~is_kidney
    found = np.full(distances.size, math.inf)
    np.minimum.at(found, ids[others], to_kidney[others].astype(np.float64))
    found[found > limit_mm * (1 + TOLERANCE)] = math.inf  # part of an object may lie outside of this box
    np.minimum(distances, found, out=distances)


def _measure_far(bodies: Bodies, spacing_mm: Sequence[float], distances: np.ndarray) -> None:
    from scipy.spatial import cKDTree

    def surface(number: int) -> np.ndarray:
        box = bodies.boxes[number]
        voxels = surface_voxels(bodies.ids[box] == number) + [side.start for side in box]
        return voxels * np.asarray(spacing_mm)

    tree = cKDTree(np.concatenate([surface(int(number)) for number in np.flatnonzero(bodies.is_kidney)]))
    for number in np.flatnonzero(~np.isfinite(distances)):
        distances[number] = tree.query(surface(int(number)))[0].min()


def surface_voxels(mask: np.ndarray) -> np.ndarray:
    """Return the indices, int [n, 3], of the voxels of a mask [z, y, x] that have a face outside of it."""
    box = bounding_box(mask)
    if box is None:
        return np.empty((0, 3), np.intp)
    padded = np.pad(mask[box], 1)
    inner = np.ones_like(mask[box])
    for axis in range(3):
        for start in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(start, start + inner.shape[axis])
            inner &= padded[tuple(window)]
    return np.argwhere(mask[box] & ~inner) + [side.start for side in box]


def largest_diameter_mm(mask: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Return the largest distance between the centers of two voxels of a mask [z, y, x]; 0 for one, NaN for none.

    It is the extent along the mask's longest line in space, whatever its direction, not the largest one within an
    axial slice that radiologists measure by hand, which is at most as long.

    >>> largest_diameter_mm(np.ones((1, 4, 5), bool), (5.0, 1.0, 1.0))
    5.0
    """
    points = surface_voxels(mask) * np.asarray(spacing_mm, float)
    if not len(points):
        return math.nan
    corners = _hull_corners(points)
    squared = 0.0
    for first in range(0, len(corners), 512):  # by parts: an object of a liter has thousands of corners
        apart = corners[first : first + 512, None] - corners[None, first:]
        squared = max(squared, float((apart**2).sum(axis=2).max()))
    return math.sqrt(squared)


def _hull_corners(points: np.ndarray) -> np.ndarray:
    from scipy.spatial import ConvexHull, QhullError

    wide = points[:, np.ptp(points, axis=0) > 0]  # a flat object has a hull in its own plane
    if wide.shape[1] < 2:
        return points[[0, -1]]  # of one line, sorted
    try:
        return points[ConvexHull(wide).vertices]
    except QhullError:  # flat, but not along the axes; or too few points
        return points
