"""Views of a slice that the network sees, too: mirrored, and at other sizes; and the way back of what it says of them.

Resizing is a product with matrices, so that all engines (numpy, TensorFlow, ONNX) do the same arithmetic.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np

from data_prep.geometry.network_grid import AIR_HU
from kidney_seg.config.prediction import FLIPS

_AXES = types.MappingProxyType(dict(zip(FLIPS, (((),), ((), (2,)), ((), (2,), (1,), (1, 2))), strict=True)))


@dataclass(frozen=True, eq=False)
class View:
    """axes: of [n, y, x, ...] along which slices are mirrored; to, fro: float32 [size, size], None at zoom 1.

    The product of `to` with the pixels along an edge is what the view shows, resized about the center; `fro` is the
    way back.
    """

    axes: tuple[int, ...]
    to: np.ndarray | None = None
    fro: np.ndarray | None = None

    def there(self, batch: np.ndarray) -> np.ndarray:
        """Return HU [n, size, size, channels] as the network is to see them; beyond the slices is air."""
        seen = np.ascontiguousarray(np.flip(batch, self.axes))
        return seen if self.to is None else _product(self.to, seen - AIR_HU) + AIR_HU

    def back(self, prob: np.ndarray) -> np.ndarray:
        """Return what the network says [n, size, size, classes] where it belongs; 0 where the view did not reach."""
        return np.flip(prob if self.fro is None else _product(self.fro, prob), self.axes)

    @property
    def share(self) -> np.ndarray:
        """How much of every pixel it saw, in 0..1: what `back` gives of ones; float32 [size, size, 1] or a scalar."""
        if self.fro is None:
            return np.ones((), np.float32)
        edge = self.fro.sum(axis=1)
        return np.outer(edge, edge)[..., None]


def views_of(flips: str, zooms: Sequence[float], size: int) -> list[View]:
    """Return the views of slices of `size` pixels a side: each zoom, plain and mirrored as `flips`, one of FLIPS, says.

    >>> [view.axes for view in views_of("left_right", (1.0, 1.25), 16)]
    [(), (2,), (), (2,)]
    """
    return [View(axes, *_matrices(size, float(zoom))) for zoom, axes in itertools.product(zooms, _AXES[flips])]


def shares(views: Sequence[View]) -> np.ndarray:
    """Return the sum of the views' shares: what the sum of what comes back is divided by."""
    return reduce(np.add, (view.share for view in views))


@lru_cache(maxsize=16)
def _matrices(size: int, zoom: float) -> tuple[np.ndarray | None, np.ndarray | None]:
    if zoom == 1:
        return None, None
    wider = round(size * (zoom - 1) / 2)  # pixels more on either side
    resized = size + 2 * wider
    to, fro = np.zeros((2, size, size), np.float32)
    if wider >= 0:
        to[:] = _linear(size, resized)[wider : wider + size]
        fro[:] = _linear(resized, size)[:, wider : wider + size]
    else:
        to[-wider : size + wider] = _linear(size, resized)
        fro[:, -wider : size + wider] = _linear(resized, size)
    return to, fro


def _linear(before: int, after: int) -> np.ndarray:
    """Return the weights [after, before] of linear interpolation between centers of pixels; the ends are repeated."""
    place = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    left = np.minimum(place.astype(int), before - 2)
    weights = np.zeros((after, before))
    weights[np.arange(after), left] = 1 - (place - left)
    weights[np.arange(after), left + 1] = place - left
    return weights


def _product(matrix: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Return [n, y, x, c], float32, with `matrix` applied along y and x."""
    for _ in "yx":
        count, edge, *_rest = planes.shape
        made = (matrix @ planes.reshape(count, edge, -1)).reshape(count, len(matrix), *planes.shape[2:])
        planes = np.ascontiguousarray(made.swapaxes(1, 2))
    return planes
