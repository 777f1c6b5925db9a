"""Resampling of slices between centered pixel grids, written once for numpy, TensorFlow and ONNX.

The arithmetic calls the operations of `ArrayOps`: `NUMPY` here, those of graphs in `kidney_seg.export`. All compute
weights in float64 and add in float32 from the first pixel to the last, so that a served graph equals numpy bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np

AIR_HU = -1000

Array = Any  # of numpy, TensorFlow or an ONNX graph; has the operators + - * / < <= > >= &
Weights = Any  # nonzero weights of one axis, as `ArrayOps.weights` returns them


class ArrayOps(Protocol):
    """Operations on arrays, named as in numpy; numbers are converted to the type of the array beside them."""

    def shape(self, x: Array) -> Array: ...  # int64
    def astype(self, x: Array, dtype: type) -> Array: ...
    def arange(self, count: Array) -> Array: ...  # int64
    def round(self, x: Array) -> Array: ...  # halves to the even number
    def floor(self, x: Array) -> Array: ...
    def minimum(self, x: Array, y: Array) -> Array: ...
    def maximum(self, x: Array, y: Array) -> Array: ...
    def clip(self, x: Array, low: Array, high: Array) -> Array: ...
    def equal(self, x: Array, y: Array) -> Array: ...
    def where(self, condition: Array, x: Array, y: Array) -> Array: ...
    def sum(self, x: Array) -> Array: ...  # over the last axis, which stays with length 1
    def max(self, x: Array, axis: tuple[int, ...] | None = None) -> Array: ...  # over all axes, or some
    def all(self, x: Array) -> Array: ...
    def take(self, x: Array, indices: Array, axis: int) -> Array: ...
    def put(self, x: Array, indices: Array, values: Array) -> Array: ...  # a copy with other values at x[indices]
    def flatnonzero(self, x: Array) -> Array: ...  # int64, of a vector
    def expand_dims(self, x: Array, axis: int) -> Array: ...
    def transpose(self, x: Array, axes: Sequence[int]) -> Array: ...
    def flip(self, x: Array, axes: tuple[int, ...]) -> Array: ...
    def weights(self, first: Array, values: Array, n_from: Array) -> Weights:
        """Keep weights: `values` float32 [batch, n_to, k], of k source pixels from `first`, int64 [batch, n_to].

        A first axis of one is for all slices.
        """

    def resample_rows(self, planes: Array, weights: Weights) -> Array:
        """Return the weighted sums of rows, float32 [batch, n_from, x, c] -> [batch, n_to, x, c], first to last."""


class _Numpy:
    """numpy, and what it lacks; weights: one sparse matrix [n_to, n_from] for all slices of a batch."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def astype(self, x: Any, dtype: type) -> np.ndarray:
        return np.asarray(x).astype(dtype, copy=False)

    def put(self, x: np.ndarray, indices: np.ndarray, values: np.ndarray) -> np.ndarray:
        made = x.copy()
        made[indices] = values
        return made

    def sum(self, x: np.ndarray) -> np.ndarray:
        return x.sum(axis=-1, keepdims=True)

    def flip(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.ascontiguousarray(np.flip(x, axes))

    def weights(self, first: np.ndarray, values: np.ndarray, n_from: int) -> Any:
        from scipy.sparse import csr_array

        columns, used = first[0, :, None] + np.arange(values.shape[-1]), values[0] > 0
        ends = np.cumsum(used.sum(axis=1))
        return csr_array((values[0][used], columns[used], np.r_[0, ends]), shape=(first.shape[1], int(n_from)))

    def resample_rows(self, planes: np.ndarray, weights: Any) -> np.ndarray:
        # sparse and one thread: BLAS was twenty times slower beside another busy process
        made = [weights @ plane.reshape(len(plane), -1) for plane in planes]
        joined = made[0] if len(made) == 1 else np.concatenate(made or [planes])
        return joined.reshape(len(planes), weights.shape[0], *planes.shape[2:])


NUMPY = cast(ArrayOps, _Numpy())


def resampling_weights(n_from: Array, mm_from: Array, n_to: Array, mm_to: Array, xp: ArrayOps = NUMPY) -> Weights:
    """Return the weights that resample one axis of `n_from` pixels to `n_to`, both grids centered on one point.

    Pixels that grow (mm_to >= mm_from) average by exact overlap; pixels that shrink interpolate linearly between
    source centers, constant from the last center to the border. The sum of a pixel's weights is the share of it inside
    the source field: 1 inside, 0 outside.

    Args:
        n_from: Number of source pixels, a scalar.
        mm_from: Their edge in mm, float64 [batch].
        n_to: Number of target pixels, a scalar.
        mm_to: Their edge in mm, float64 [batch].
    """
    n_from, n_to = xp.astype(n_from, np.int64), xp.astype(n_to, np.int64)
    mm_from, mm_to = (xp.expand_dims(xp.expand_dims(mm, -1), -1) for mm in (mm_from, mm_to))
    count = xp.astype(n_from, np.float64)

    def edges(index: Array, number: Array, mm: Array) -> Array:
        return (xp.astype(index, np.float64) - xp.astype(number, np.float64) / 2) * mm

    target = xp.expand_dims(xp.arange(n_to), -1)
    low, high = edges(target, n_to, mm_to), edges(target + 1, n_to, mm_to)  # [batch, n_to, 1]
    first = xp.astype(xp.clip(xp.floor(low / mm_from + count / 2) - 1, 0.0, count - 1), np.int64)
    steps = xp.arange(xp.minimum(xp.astype(xp.max(mm_to / mm_from), np.int64) + 4, n_from + 1))
    source = first + steps  # [batch, n_to, k]
    upper = xp.minimum(high, edges(source + 1, n_from, mm_from))
    lower = xp.maximum(low, edges(source, n_from, mm_from))
    overlap = xp.where(source < n_from, xp.maximum(upper - lower, 0.0) / mm_to, 0.0)

    center = (low + high) / 2 / mm_from + (count - 1) / 2  # in source pixels
    position = xp.clip(center, 0.0, count - 1)
    left = xp.minimum(xp.astype(position, np.int64), xp.maximum(n_from - 2, 0))
    share, covered = position - xp.astype(left, np.float64), xp.sum(overlap)
    at_left = xp.where(xp.equal(source, left), (1 - share) * covered, 0.0)
    linear = at_left + xp.where(xp.equal(source, left + 1), share * covered, 0.0)

    weights = xp.astype(xp.where(mm_to >= mm_from, overlap, linear), np.float32)
    used = xp.maximum(xp.max(xp.where(weights > 0, steps + 1, 0)), 1)
    return xp.weights(xp.take(first, 0, -1), xp.take(weights, xp.arange(used), -1), n_from)


def resample(planes: Array, rows: Weights, columns: Weights, xp: ArrayOps = NUMPY) -> Array:
    """Resample in plane: float32 [batch, y, x, c] with the weights of the rows, then of the columns."""
    turned = xp.transpose(xp.resample_rows(planes, rows), (0, 2, 1, 3))
    return xp.transpose(xp.resample_rows(turned, columns), (0, 2, 1, 3))


def resample_hu(planes: Array, rows: Weights, columns: Weights, xp: ArrayOps = NUMPY) -> Array:
    """Resample HU, float32 [batch, y, x, c], to whole HU; outside the source field is air."""
    return whole_hu(resample(planes - AIR_HU, rows, columns, xp) + AIR_HU, xp)


def whole_hu(hu: Array, xp: ArrayOps = NUMPY) -> Array:
    """Round HU and clip them to the range of int16."""
    return xp.clip(xp.round(hu), -32768, 32767)


def share_outside(ones: Array, rows: Weights, columns: Weights, xp: ArrayOps = NUMPY) -> Array:
    """Return how much of each target pixel lies outside the source field, float32 [batch, y, x].

    ones: float32 [batch, n, 1, 1], as many as the source has rows and columns.
    """
    by_y, by_x = xp.resample_rows(ones, rows), xp.resample_rows(ones, columns)
    return 1 - xp.take(by_y * xp.transpose(by_x, (0, 2, 1, 3)), 0, -1)


def most_probable(classes: Sequence[Array], xp: ArrayOps = NUMPY) -> Array:
    """Return labels, uint8, of the probabilities of each class; of equal ones the lower class, as numpy's argmax."""
    best, label = classes[0], np.uint8(0)
    for number, prob in enumerate(classes[1:], 1):
        label = xp.where(prob > best, np.uint8(number), label)
        best = xp.maximum(best, prob)
    return label
