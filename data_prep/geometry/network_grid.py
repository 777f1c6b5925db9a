"""Source slices to the network's square slices and the exact way back: millimeters, one common center."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from data_prep.errors import InputError

AIR_HU = -1000
SIZE_STEP = 16  # the network halves its input four times
_TIE = 1e-5  # shares this close are equal: float32 sums of the same areas differ in the last digits


@dataclass(frozen=True)
class GridSettings:
    """The network's slices: `size` x `size` pixels.

    size: a multiple of 16.
    pixel_mm: None fits each slice's whole field of view, its aspect kept, padded with air; a number makes
    every pixel that large and crops or pads around the center.
    """

    size: int = 256
    pixel_mm: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or self.size <= 0 or self.size % SIZE_STEP:
            raise InputError(f"size {self.size}: expected a positive multiple of {SIZE_STEP}, such as 128 or 256")
        if self.pixel_mm is not None and not (math.isfinite(self.pixel_mm) and self.pixel_mm > 0):
            raise InputError(
                f"pixel size {self.pixel_mm} mm: expected a positive number, or none to fit the whole field"
            )


DEFAULT_SETTINGS = GridSettings()


def network_pixel_mm(shape_yx: Sequence[int], spacing_yx: Sequence[float], settings: GridSettings) -> float:
    """Return the edge of the network's square pixels in mm for source slices of that shape and spacing."""
    if settings.pixel_mm is not None:
        return float(settings.pixel_mm)
    return max(n * mm for n, mm in zip(shape_yx, spacing_yx, strict=True)) / settings.size


def resampling_matrix(n_from: int, mm_from: float, n_to: int, mm_to: float) -> np.ndarray:
    """Return the float32 matrix [n_to, n_from] that resamples one axis, both grids centered on one point.

    Pixels that grow (mm_to >= mm_from) average by exact overlap; pixels that shrink interpolate linearly
    between source centers, constant from the last center to the border. A row's sum is the share of its pixel
    that lies inside the source field: 1 inside, 0 outside; what is missing to 1 is the caller's padding.

    >>> resampling_matrix(4, 1.0, 2, 2.0).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    edges_from = (np.arange(n_from + 1) - n_from / 2) * mm_from
    edges_to = (np.arange(n_to + 1) - n_to / 2) * mm_to
    upper = np.minimum(edges_to[1:, None], edges_from[None, 1:])
    lower = np.maximum(edges_to[:-1, None], edges_from[None, :-1])
    overlap = np.clip(upper - lower, 0, None) / mm_to
    if mm_to >= mm_from:
        return overlap.astype(np.float32)
    inside = overlap.sum(axis=1)
    centers_to = (edges_to[:-1] + edges_to[1:]) / 2
    position = np.clip(centers_to / mm_from + (n_from - 1) / 2, 0, n_from - 1)  # in source pixels
    left = np.minimum(position.astype(int), max(n_from - 2, 0))
    right = np.minimum(left + 1, n_from - 1)
    weights = np.zeros((n_to, n_from))
    rows = np.arange(n_to)
    weights[rows, left] += (1 - (position - left)) * inside
    weights[rows, right] += (position - left) * inside
    return weights.astype(np.float32)


def to_network(voxels: np.ndarray, spacing_mm: tuple[float, float, float], settings: GridSettings) -> np.ndarray:
    """Resample CT slices in plane: int16 HU [z, y, x], spacing (z, y, x) -> int16 HU [z, size, size].

    Never along z. What lies outside the source's field is air, -1000 HU. No slices give no slices.
    """
    resample = _resampler(voxels.shape[1:], spacing_mm, settings, outside=AIR_HU)
    out = np.empty((len(voxels), settings.size, settings.size), np.int16)
    for source, target in zip(voxels, out, strict=True):
        target[...] = np.clip(np.rint(resample(source)), -32768, 32767)
    return out


def labels_to_network(labels: np.ndarray, spacing_mm: tuple[float, float, float], settings: GridSettings) -> np.ndarray:
    """Resample labels in plane: uint8 [z, y, x] -> uint8 [z, size, size], on the grid of `to_network`.

    Each pixel gets the label that covers most of it; of equal shares the higher label, so that a small tumor
    is not lost. Outside the source's field is background.
    """
    resample = _resampler(labels.shape[1:], spacing_mm, settings)
    out = np.zeros((len(labels), settings.size, settings.size), np.uint8)
    for source, target in zip(labels, out, strict=True):
        rows = np.flatnonzero(source.any(axis=1))
        if not rows.size:
            continue
        if resample is _halve:  # without the rows of background above and below
            first, last = rows[0] // 2, rows[-1] // 2 + 1
            source, target = source[2 * first : 2 * last], target[first:last]
        best = np.zeros(target.shape, np.float32)
        covered = np.zeros(target.shape, np.float32)
        for value in range(1, int(source.max(initial=0)) + 1):  # ascending: the higher label wins ties
            share = resample(source == value)
            covered += share
            target[(share >= best - _TIE) & (share > _TIE)] = value
            np.maximum(best, share, out=best)
        target[1 - covered > best + _TIE] = 0
    return out


def shares_to_network(
    labels: np.ndarray, spacing_mm: tuple[float, float, float], settings: GridSettings, classes: int = 3
) -> np.ndarray:
    """Return how much of each network pixel every label covers: uint8 [z, y, x] -> float32 [z, size, size, classes].

    Shares of area, on the grid of `to_network`; they add up to 1, outside the source's field is background.
    These are soft labels: what a perfect network would answer, and what the way back keeps best. ValueError for
    a label of `classes` or more.
    """
    if labels.max(initial=0) >= classes:
        raise ValueError(f"label {labels.max()} found, expected 0 to {classes - 1}")
    by_y, by_x = _matrices(labels.shape[1:], tuple(spacing_mm), settings)
    out = np.zeros((len(labels), settings.size, settings.size, classes), np.float32)
    out[..., 0] = 1
    for source, target in zip(labels, out, strict=True):
        if not source.any():
            continue
        for value in range(1, classes):
            target[..., value] = _resample((source == value).astype(np.float32), by_y, by_x)
        target[..., 0] = 1 - target[..., 1:].sum(axis=-1)
    return out


def probabilities_to_labels(
    prob: np.ndarray,
    shape_zyx: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    settings: GridSettings,
) -> np.ndarray:
    """Bring class probabilities back to the source grid and label it: the way back of `to_network`.

    prob: float32 [z, size, size, classes]; shape_zyx and spacing_mm: of the source. Returns uint8 [z, y, x],
    the most probable class of each voxel. Probabilities are interpolated, never labels; outside the network's
    field is 0. ValueError where the number of slices or their size is another one.
    """
    expected = (shape_zyx[0], settings.size, settings.size)
    if prob.ndim != 4 or prob.shape[:3] != expected:
        raise ValueError(f"probabilities have the shape {prob.shape}, expected {(*expected, 'classes')}")
    by_y, by_x = _matrices(tuple(shape_zyx[1:]), tuple(spacing_mm), settings, back=True)
    outside = 1 - np.outer(by_y.sum(axis=1), by_x.sum(axis=1))
    out = np.zeros(shape_zyx, np.uint8)
    for source, target in zip(prob, out, strict=True):
        # the weights are not negative: where background leads in every pixel, it leads between them, too
        leads = source[..., 1:].max(axis=-1, initial=-np.inf) >= source[..., 0]
        if (found := _patch(by_y, by_x, leads)) is not None:
            place, part_y, part_x = found
            resampled = _resample(source.astype(np.float32, copy=False), part_y, part_x)
            resampled[..., 0] += outside[place]
            target[place] = resampled.argmax(axis=-1)
    return out


def probability_to_percent(
    prob: np.ndarray,
    shape_zyx: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    settings: GridSettings,
) -> np.ndarray:
    """Bring one class' probability back to the source grid: float32 [z, size, size] -> uint8 [z, y, x], whole percents.

    Interpolated as by `probabilities_to_labels`; outside the network's field is 0.
    """
    by_y, by_x = _matrices(tuple(shape_zyx[1:]), tuple(spacing_mm), settings, back=True)
    out = np.zeros(shape_zyx, np.uint8)
    for source, target in zip(prob, out, strict=True):
        if (found := _patch(by_y, by_x, source >= 0.005)) is not None:  # less would round to 0 between, too
            place, part_y, part_x = found
            resampled = _resample(source.astype(np.float32, copy=False), part_y, part_x)
            target[place] = np.rint(np.clip(resampled, 0, 1) * 100)
    return out


def _patch(by_y: Any, by_x: Any, wanted: np.ndarray) -> tuple[tuple[slice, slice], Any, Any] | None:
    """Return the rectangle that the `wanted` pixels of the other grid have weights in, with its rows of both matrices.

    None where they have none.
    """
    spans = []
    for matrix, line in ((by_y, wanted.any(axis=1)), (by_x, wanted.any(axis=0))):
        columns = np.flatnonzero(line)
        filled = np.flatnonzero(np.diff(matrix.indptr))  # the weights of a row lie side by side, in ascending order
        low, high = matrix.indices[matrix.indptr[filled]], matrix.indices[matrix.indptr[filled + 1] - 1]
        rows = filled[(low <= columns[-1]) & (high >= columns[0])] if columns.size else columns
        if not rows.size:
            return None
        spans.append(slice(int(rows[0]), int(rows[-1]) + 1))
    return (spans[0], spans[1]), by_y[spans[0]], by_x[spans[1]]


@lru_cache(maxsize=8)
def _matrices(
    shape_yx: tuple[int, ...], spacing_mm: tuple[float, float, float], settings: GridSettings, *, back: bool = False
) -> tuple[Any, Any]:
    # sparse: few weights a row; and one thread: BLAS was twenty times slower beside another busy process
    from scipy.sparse import csr_array

    mm = network_pixel_mm(shape_yx, spacing_mm[1:], settings)
    here = (settings.size, mm)
    by_y, by_x = (
        csr_array(resampling_matrix(*here, *there) if back else resampling_matrix(*there, *here))
        for there in zip(shape_yx, spacing_mm[1:], strict=True)
    )
    return by_y, by_x


def _resampler(
    shape_yx: tuple[int, ...], spacing_mm: tuple[float, float, float], settings: GridSettings, outside: float = 0
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that brings a plane [y, x] to the network's grid, as float32; `outside` fills up."""
    mm = network_pixel_mm(shape_yx, spacing_mm[1:], settings)
    if tuple(shape_yx) == (2 * settings.size,) * 2 and all(mm == 2 * edge_mm for edge_mm in spacing_mm[1:]):
        return _halve  # 512 to 256, by far the most frequent: several times as fast
    by_y, by_x = _matrices(tuple(shape_yx), tuple(spacing_mm), settings)
    return lambda plane: _resample(plane.astype(np.float32) - np.float32(outside), by_y, by_x) + np.float32(outside)


def _halve(plane: np.ndarray) -> np.ndarray:
    # the matrices would hold nothing but .5; sums and quarters of whole numbers below 2^17 are exact in float32
    rows = np.add(plane[0::2], plane[1::2], dtype=np.float32)
    mean = rows[:, 0::2] + rows[:, 1::2]
    mean *= np.float32(0.25)
    return mean


def _resample(plane: np.ndarray, by_y: Any, by_x: Any) -> np.ndarray:
    # [y, x] or [y, x, classes]: one axis after the other
    rest = plane.shape[2:]
    rows = (by_y @ plane.reshape(len(plane), -1)).reshape(-1, plane.shape[1], *rest)
    columns = np.ascontiguousarray(rows.swapaxes(0, 1))
    return (by_x @ columns.reshape(len(columns), -1)).reshape(-1, len(rows), *rest).swapaxes(0, 1)
