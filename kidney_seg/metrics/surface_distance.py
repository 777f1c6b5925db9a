"""Distances between the surfaces of two masks in mm, weighted by area: surface Dice, Hausdorff, average distance.

The results equal those of DeepMind's surface-distance (Nikolov et al. 2021, https://doi.org/10.2196/26151), used by
KiTS21 and KiTS23. Distances are searched from surface to surface instead of in distance maps of the whole box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.geometry.types import triple
from kidney_seg.metrics.overlap import share_of_empty
from kidney_seg.metrics.surface_area import FULL, surfel_areas_mm2

FAR_MM = 30.0  # beyond this, a search for many points takes longer than a map of all distances
FEW = 5000  # points that are searched at any distance


@dataclass(frozen=True)
class Surface:
    """The surface of a mask: voxel corners, int64 [n, 3] (z, y, x), and the area at each in mm2, float64 [n]."""

    corners: np.ndarray
    areas_mm2: np.ndarray
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Distances:
    """Distances in mm from each piece of a surface to the other surface, and areas in mm2; float64, sorted by distance.

    Distances are inf if the other surface is empty; both arrays are empty if the surface itself is.
    """

    truth_mm: np.ndarray
    truth_mm2: np.ndarray
    predicted_mm: np.ndarray
    predicted_mm2: np.ndarray


def surface_of(mask: np.ndarray, spacing_mm: Sequence[float]) -> Surface:
    """Return the surface of a boolean mask [z, y, x], closed at the edge of the array; empty for an empty mask.

    ValueError unless there are three axes and three positive spacings.
    """
    mask, spacing = np.asarray(mask, bool), tuple(float(mm) for mm in spacing_mm)
    if mask.ndim != 3 or len(spacing) != 3 or not all(0 < mm < math.inf for mm in spacing):
        raise ValueError(f"expected a mask [z, y, x] and three spacings in mm, found {mask.shape} and {spacing_mm}")
    codes: np.ndarray = np.pad(mask, 1).view(np.uint8)
    for axis, shift in ((2, 1), (1, 2), (0, 4)):  # bits as in surface_area.CORNERS: x is the lowest
        low = tuple(slice(None, -1) if other == axis else slice(None) for other in range(3))
        high = tuple(slice(1, None) if other == axis else slice(None) for other in range(3))
        codes = codes[low] | codes[high] << shift
    corners = np.argwhere((codes != 0) & (codes != FULL))
    return Surface(corners, surfel_areas_mm2(spacing)[codes[tuple(corners.T)]], triple(spacing))


def surface_distances(truth: Surface, predicted: Surface) -> Distances:
    """Return the distances between two surfaces on one grid. ValueError if their spacings differ.

    They are exact to float64; only if more than `FEW` points of a surface lie farther than `FAR_MM` from the other
    one, those points' distances are of single precision (relative error below 1e-6).
    """
    if truth.spacing_mm != predicted.spacing_mm:
        raise ValueError(f"spacings differ: {truth.spacing_mm} mm and {predicted.spacing_mm} mm")
    return Distances(*_sorted(truth, predicted), *_sorted(predicted, truth))


def surface_dice(distances: Distances, tolerance_mm: float, empty: str = "project") -> float:
    """Return the share of both surfaces, by area, within `tolerance_mm` of the other one.

    `empty`: a rule of `kidney_seg.metrics.overlap.EMPTY_SHARE` for empty masks.
    """
    known = share_of_empty(len(distances.truth_mm) > 0, len(distances.predicted_mm) > 0, empty)
    if known is not None:
        return known
    near = distances.truth_mm2[distances.truth_mm <= tolerance_mm].sum()
    near += distances.predicted_mm2[distances.predicted_mm <= tolerance_mm].sum()
    return float(near / (distances.truth_mm2.sum() + distances.predicted_mm2.sum()))


def hausdorff_mm(distances: Distances, percent: float = 95.0, absent_mm: float = math.inf) -> float:
    """Return the robust Hausdorff distance: the larger of the two directions' percentiles by area.

    NaN if both surfaces are empty, `absent_mm` if one is (the reference gives inf for both).
    """
    known = _without_a_surface(distances, absent_mm)
    if known is not None:
        return known
    return max(
        _percentile(distances.truth_mm, distances.truth_mm2, percent),
        _percentile(distances.predicted_mm, distances.predicted_mm2, percent),
    )


def assd_mm(distances: Distances, absent_mm: float = math.inf) -> float:
    """Return the average symmetric surface distance: the mean over both surfaces together, by area.

    NaN if both surfaces are empty, `absent_mm` if one is.
    """
    known = _without_a_surface(distances, absent_mm)
    if known is not None:
        return known
    both = np.concatenate([distances.truth_mm, distances.predicted_mm])
    return float(np.average(both, weights=np.concatenate([distances.truth_mm2, distances.predicted_mm2])))


def _sorted(start: Surface, target: Surface) -> tuple[np.ndarray, np.ndarray]:
    distance = np.full(len(start.corners), math.inf)
    if len(start.corners) and len(target.corners):
        distance = _nearest_mm(start.corners, target.corners, start.spacing_mm)
    order = np.argsort(distance, kind="stable")
    return distance[order], start.areas_mm2[order]


def _nearest_mm(corners: np.ndarray, targets: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    from scipy.spatial import KDTree

    distance = np.zeros(len(corners))
    apart = np.flatnonzero(~_among(corners, targets))
    tree = KDTree(targets * spacing, leafsize=48, balanced_tree=False, compact_nodes=False)
    distance[apart] = tree.query(corners[apart] * spacing, distance_upper_bound=FAR_MM)[0]
    far = np.flatnonzero(np.isinf(distance))
    if len(far) <= FEW:
        distance[far] = tree.query(corners[far] * spacing)[0]
    else:
        distance[far] = _by_distance_map(corners[far], targets, spacing)
    return distance


def _by_distance_map(corners: np.ndarray, targets: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    import edt

    low = np.minimum(corners.min(axis=0), targets.min(axis=0))
    free = np.ones(np.maximum(corners.max(axis=0), targets.max(axis=0)) - low + 1, bool)
    free[tuple((targets - low).T)] = False
    return edt.edt(free, anisotropy=spacing)[tuple((corners - low).T)].astype(float)


def _among(corners: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return bool [n]: which of the corners are also among the others."""
    size = np.maximum(corners.max(axis=0), others.max(axis=0)) + 1
    found = np.zeros(size, bool)
    found[tuple(others.T)] = True
    return found[tuple(corners.T)]


def _percentile(distance: np.ndarray, area: np.ndarray, percent: float) -> float:
    # as the reference: the first distance at which the share of the area reaches the percentage
    shares = np.cumsum(area) / np.sum(area)
    return float(distance[min(int(np.searchsorted(shares, percent / 100.0)), len(distance) - 1)])


def _without_a_surface(distances: Distances, absent_mm: float) -> float | None:
    filled = [len(distances.truth_mm) > 0, len(distances.predicted_mm) > 0]
    if all(filled):
        return None
    return absent_mm if any(filled) else math.nan
