"""Connected components of a mask, boxes, surfaces and diameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from data_prep.geometry.types import Box, triple

EMPTY: Box = (slice(0, 0), slice(0, 0), slice(0, 0))


def connected(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the objects of a boolean mask [z, y, x] (26-connected) or [y, x] (8-connected), and their number.

    They are numbered from 1 in an array of unsigned integers of the mask's shape; 0 is the background.

    >>> connected(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]], bool))[1]
    3
    """
    import cc3d

    # Integers, because cc3d 4.1 expects too few objects in booleans where a side is odd and small ("maximum length
    # exception"), and numbers a mask of one row wrongly in two dimensions.
    values = np.ascontiguousarray(mask, bool).view(np.uint8)
    ids, count = cc3d.connected_components(values, connectivity=26 if mask.ndim == 3 else 8, return_N=True)
    return ids, int(count)


def connected_objects(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[Box]]:
    """Return the 26-connected objects of a mask [z, y, x]: numbers, voxels per number, box per number.

    Number 0 is the background, with 0 voxels.
    """
    import cc3d

    ids, _ = connected(mask)
    found = cc3d.statistics(ids)
    voxels = found["voxel_counts"].astype(np.int64)
    voxels[0] = 0
    return ids, voxels, found["bounding_boxes"]


def bounding_box(*masks: np.ndarray, margin: Sequence[int] = (0, 0, 0)) -> Box | None:
    """Return the smallest box that holds all masks or label maps [z, y, x] of one shape; None if all are empty.

    The box is `margin` voxels larger on either side of each axis, within the shape.

    >>> bounding_box(np.eye(3)[None] == 1, margin=(1, 0, 0))
    (slice(0, 1, None), slice(0, 3, None), slice(0, 3, None))
    """
    box = []
    for axis, more in enumerate(margin):
        others = tuple({0, 1, 2} - {axis})
        filled = np.flatnonzero(np.logical_or.reduce([mask.any(axis=others) for mask in masks]))
        if filled.size == 0:
            return None
        box.append(slice(max(0, int(filled[0]) - more), min(masks[0].shape[axis], int(filled[-1]) + 1 + more)))
    return triple(box)


def surface_voxels(mask: np.ndarray) -> np.ndarray:
    """Return the indices, int [n, 3], of the voxels of a mask [z, y, x] that have a face to the background."""
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

    It is measured in any direction, so it is at least the largest diameter within an axial slice, which radiologists
    measure by hand.

    >>> largest_diameter_mm(np.ones((1, 4, 5), bool), (5.0, 1.0, 1.0))
    5.0
    """
    points = surface_voxels(mask) * np.asarray(spacing_mm, float)
    if not len(points):
        return math.nan
    corners = _hull_corners(points)
    squared = 0.0
    for first in range(0, len(corners), 512):  # in parts: an object of a liter has thousands of corners
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
