"""Test-time augmentation: flipped and resized copies of a slice, and mapping predictions back."""

from __future__ import annotations

import itertools
import types
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np

from data_prep.geometry.resampling import AIR_HU, NUMPY, Array, ArrayOps, resample
from kidney_seg.config.prediction import FLIPS

_AXES = types.MappingProxyType(dict(zip(FLIPS, (((),), ((), (2,)), ((), (2,), (1,), (1, 2))), strict=True)))


@dataclass(frozen=True, eq=False)
class View:
    """One flipped and resized copy of slices.

    axes: of [n, y, x, ...], along which slices are flipped.
    forward_matrix, inverse_matrix: float32 [size, size], resize an edge about the center, and back; None at zoom 1.
    """

    axes: tuple[int, ...]
    forward_matrix: np.ndarray | None = None
    inverse_matrix: np.ndarray | None = None

    def apply(self, batch: Array, xp: ArrayOps = NUMPY) -> Array:
        """Return HU [n, size, size, channels] as the network sees them; beyond the slices is air."""
        seen = xp.flip(batch, self.axes) if self.axes else batch
        return seen if self.forward_matrix is None else _resize(self.forward_matrix, seen - AIR_HU, xp) + AIR_HU

    def invert(self, prob: Array, xp: ArrayOps = NUMPY) -> Array:
        """Return predictions [n, size, size, classes] on the pixels of the slices; 0 where the view does not reach."""
        resized = prob if self.inverse_matrix is None else _resize(self.inverse_matrix, prob, xp)
        return xp.flip(resized, self.axes) if self.axes else resized

    @property
    def coverage(self) -> np.ndarray:
        """The share of every pixel inside the view: `invert` of ones; float32 [size, size, 1] or a scalar."""
        if self.inverse_matrix is None:
            return np.ones((), np.float32)
        edge = self.inverse_matrix.sum(axis=1)
        return np.outer(edge, edge)[..., None]


def tta_views(flips: str, zooms: Sequence[float], size: int) -> list[View]:
    """Return the views of slices of `size` x `size` pixels: each zoom with each flip of `flips`, one of FLIPS.

    >>> [view.axes for view in tta_views("left_right", (1.0, 1.25), 16)]
    [(), (2,), (), (2,)]
    """
    return [View(axes, *_matrices(size, float(zoom))) for zoom, axes in itertools.product(zooms, _AXES[flips])]


def total_coverage(views: Sequence[View]) -> np.ndarray:
    """Return the sum of the views' coverage, which divides the sum of their inverted predictions."""
    return reduce(np.add, (view.coverage for view in views))


@lru_cache(maxsize=16)
def _matrices(size: int, zoom: float) -> tuple[np.ndarray | None, np.ndarray | None]:
    if zoom == 1:
        return None, None
    margin = round(size * (zoom - 1) / 2)  # pixels more on either side
    resized = size + 2 * margin
    forward, inverse = np.zeros((2, size, size), np.float32)
    if margin >= 0:
        forward[:] = _linear(size, resized)[margin : margin + size]
        inverse[:] = _linear(resized, size)[:, margin : margin + size]
    else:
        forward[-margin : size + margin] = _linear(size, resized)
        inverse[:, -margin : size + margin] = _linear(resized, size)
    return forward, inverse


def _linear(before: int, after: int) -> np.ndarray:
    """Return the weights [after, before] of linear interpolation between centers of pixels; the ends are repeated."""
    place = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    left = np.minimum(place.astype(int), before - 2)
    weights = np.zeros((after, before))
    weights[np.arange(after), left] = 1 - (place - left)
    weights[np.arange(after), left + 1] = place - left
    return weights


def _resize(matrix: np.ndarray, planes: Array, xp: ArrayOps) -> Array:
    """Return [n, y, x, c], float32, with `matrix` applied along y and x; its rows are zero but for a few neighbors."""
    columns = np.arange(len(matrix))
    first = (matrix != 0).argmax(axis=1)
    longest = int((np.where(matrix != 0, columns, 0).max(axis=1) - first).max()) + 1
    first = np.minimum(first, len(matrix) - longest)
    values = np.take_along_axis(matrix, first[:, None] + columns[:longest], axis=1)
    weights = xp.weights(first[None], values[None], len(matrix))
    return resample(planes, weights, weights, xp)
