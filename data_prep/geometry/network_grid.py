"""Source slices to the network's square slices and the exact way back: in millimeters, around one common center."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from data_prep.errors import InputError
from data_prep.geometry.resampling import (
    NUMPY,
    Array,
    ArrayOps,
    most_probable,
    resample,
    resample_hu,
    resampling_weights,
    share_outside,
    whole_hu,
)

SIZE_STEP = 16  # the network halves its input four times
_TIE = 1e-5  # shares this close are equal: float32 sums of the same areas differ in the last digits
_LEAST_PERCENT = 0.005  # a smaller probability rounds to 0 %

Shape = tuple[int, int, int]  # (z, y, x)
Spacing = tuple[float, float, float]  # mm


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


def network_pixel_mm(
    shape_yx: Sequence[Array], spacing_yx: Sequence[Array], settings: GridSettings, xp: ArrayOps = NUMPY
) -> Any:
    """Return the edge of the network's square pixels in mm for source slices of that shape and spacing."""
    if settings.pixel_mm is not None:
        return spacing_yx[0] * 0.0 + settings.pixel_mm
    height, width = (xp.astype(n, np.float64) * mm for n, mm in zip(shape_yx, spacing_yx, strict=True))
    return xp.maximum(height, width) / settings.size


def resampling_matrix(n_from: int, mm_from: float, n_to: int, mm_to: float) -> np.ndarray:
    """Return the float32 matrix [n_to, n_from] of `resampling_weights`.

    >>> resampling_matrix(4, 1.0, 2, 2.0).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    return _sparse_matrix(n_from, mm_from, n_to, mm_to).toarray()


def to_network(voxels: np.ndarray, spacing_mm: Spacing, settings: GridSettings) -> np.ndarray:
    """Resample CT slices in plane: int16 HU [z, y, x], spacing (z, y, x) -> int16 HU [z, size, size].

    Never along z. Outside the source's field is air, -1000 HU. No slices give no slices.
    """
    halve = _is_halving(voxels.shape[1:], spacing_mm, settings)
    weights = _weights(voxels.shape[1:], tuple(spacing_mm), settings)
    out = np.empty((len(voxels), settings.size, settings.size), np.int16)
    for source, target in zip(voxels, out, strict=True):
        if halve:
            target[...] = whole_hu(_halve(source))
        else:
            target[...] = resample_hu(source.astype(np.float32)[None, ..., None], *weights)[0, ..., 0]
    return out


def labels_to_network(labels: np.ndarray, spacing_mm: Spacing, settings: GridSettings) -> np.ndarray:
    """Resample labels in plane: uint8 [z, y, x] -> uint8 [z, size, size], on the grid of `to_network`.

    Each pixel gets the label that covers most of it; of equal shares the higher label, so that a small tumor
    is not lost. Outside the source's field is background.
    """
    halve = _is_halving(labels.shape[1:], spacing_mm, settings)
    weights = _weights(labels.shape[1:], tuple(spacing_mm), settings)
    out = np.zeros((len(labels), settings.size, settings.size), np.uint8)
    for source, target in zip(labels, out, strict=True):
        rows = np.flatnonzero(source.any(axis=1))
        if not rows.size:
            continue
        if halve:  # without the rows of background above and below
            first, last = rows[0] // 2, rows[-1] // 2 + 1
            source, target = source[2 * first : 2 * last], target[first:last]
        best = np.zeros(target.shape, np.float32)
        covered = np.zeros(target.shape, np.float32)
        for value in range(1, int(source.max(initial=0)) + 1):  # ascending: the higher label wins ties
            share = _halve(source == value) if halve else _resample_plane(source == value, *weights)
            covered += share
            target[(share >= best - _TIE) & (share > _TIE)] = value
            np.maximum(best, share, out=best)
        target[1 - covered > best + _TIE] = 0
    return out


def shares_to_network(labels: np.ndarray, spacing_mm: Spacing, settings: GridSettings, classes: int = 3) -> np.ndarray:
    """Return how much of each network pixel every label covers: uint8 [z, y, x] -> float32 [z, size, size, classes].

    Shares of area, on the grid of `to_network`; they add up to 1, outside the source's field is background.
    These are soft labels: the output of a perfect network, and what resampling back preserves best. ValueError for
    a label of `classes` or more.
    """
    if labels.max(initial=0) >= classes:
        raise ValueError(f"label {labels.max()} found, expected 0 to {classes - 1}")
    weights = _weights(labels.shape[1:], tuple(spacing_mm), settings)
    out = np.zeros((len(labels), settings.size, settings.size, classes), np.float32)
    out[..., 0] = 1
    for source, target in zip(labels, out, strict=True):
        if not source.any():
            continue
        for value in range(1, classes):
            target[..., value] = _resample_plane(source == value, *weights)
        target[..., 0] = 1 - target[..., 1:].sum(axis=-1)
    return out


def probabilities_to_labels(
    prob: np.ndarray, shape_zyx: Shape, spacing_mm: Spacing, settings: GridSettings
) -> np.ndarray:
    """Resample class probabilities to the source grid and label it: the way back of `to_network`.

    prob: float32 [z, size, size, classes]; shape_zyx and spacing_mm: of the source. Returns uint8 [z, y, x],
    the most probable class of each voxel. Probabilities are interpolated, never labels; outside the network's
    field is 0. ValueError for another number or size of slices.
    """
    expected = (shape_zyx[0], settings.size, settings.size)
    if prob.ndim != 4 or prob.shape[:3] != expected:
        raise ValueError(f"probabilities have the shape {prob.shape}, expected {(*expected, 'classes')}")
    by_y, by_x = _weights(tuple(shape_zyx[1:]), tuple(spacing_mm), settings, back=True)
    outside = share_outside(np.ones((1, settings.size, 1, 1), np.float32), by_y, by_x)[0]
    out = np.zeros(shape_zyx, np.uint8)
    for source, target in zip(prob, out, strict=True):
        # weights are not negative: where background leads in every pixel, it also leads between them
        leads = source[..., 1:].max(axis=-1, initial=-np.inf) >= source[..., 0]
        if (found := _patch(by_y, by_x, leads)) is not None:
            place, part_y, part_x = found
            resampled = resample(source.astype(np.float32, copy=False)[None], part_y, part_x)[0]
            background, *others = np.moveaxis(resampled, -1, 0)
            target[place] = most_probable([background + outside[place], *others])
    return out


def probability_to_percent(
    prob: np.ndarray, shape_zyx: Shape, spacing_mm: Spacing, settings: GridSettings
) -> np.ndarray:
    """Resample the probability of one class to the source grid, in whole percent.

    float32 [z, size, size] -> uint8 [z, y, x]. Interpolated as by `probabilities_to_labels`; outside the network's
    field is 0.
    """
    by_y, by_x = _weights(tuple(shape_zyx[1:]), tuple(spacing_mm), settings, back=True)
    out = np.zeros(shape_zyx, np.uint8)
    for source, target in zip(prob, out, strict=True):
        if (found := _patch(by_y, by_x, source >= _LEAST_PERCENT)) is not None:
            place, part_y, part_x = found
            target[place] = np.rint(np.clip(_resample_plane(source, part_y, part_x), 0, 1) * 100)
    return out


def _patch(by_y: Any, by_x: Any, wanted: np.ndarray) -> tuple[tuple[slice, slice], Any, Any] | None:
    """Return the target rectangle that the `wanted` source pixels have weights in, with its rows of both matrices.

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
def _weights(
    shape_yx: tuple[int, ...], spacing_mm: Spacing, settings: GridSettings, *, back: bool = False
) -> list[Any]:
    here = (settings.size, network_pixel_mm(shape_yx, spacing_mm[1:], settings))
    there = zip(shape_yx, spacing_mm[1:], strict=True)
    return [_sparse_matrix(*(here + one if back else one + here)) for one in there]


def _sparse_matrix(n_from: int, mm_from: float, n_to: int, mm_to: float) -> Any:
    return resampling_weights(n_from, np.array([mm_from], np.float64), n_to, np.array([mm_to], np.float64))


def _resample_plane(plane: np.ndarray, by_y: Any, by_x: Any) -> np.ndarray:
    return resample(plane.astype(np.float32)[None, ..., None], by_y, by_x)[0, ..., 0]


def _is_halving(shape_yx: tuple[int, ...], spacing_mm: Spacing, settings: GridSettings) -> bool:
    # 512 to 256 pixels, by far the most frequent
    mm = network_pixel_mm(shape_yx, spacing_mm[1:], settings)
    return tuple(shape_yx) == (2 * settings.size,) * 2 and all(mm == 2 * edge_mm for edge_mm in spacing_mm[1:])


def _halve(plane: np.ndarray) -> np.ndarray:
    # several times as fast as weights of .5; sums and quarters of whole numbers below 2^17 are exact in float32
    rows = np.add(plane[0::2], plane[1::2], dtype=np.float32)
    mean = rows[:, 0::2] + rows[:, 1::2]
    mean *= np.float32(0.25)
    return mean
