"""Neighboring slices as channels of the network's input (`input_slices`), the same in training and prediction."""

from __future__ import annotations

import numpy as np

from data_prep.geometry.resampling import NUMPY, Array, ArrayOps


def neighbor_indices(positions: Array, slices: Array, count: int, xp: ArrayOps = NUMPY) -> Array:
    """Return the slices that the network sees for each position: int [n, count], the position itself in the middle.

    Beyond either end of a scan its last slice is repeated. Neighbors are adjacent slices, whatever their distance in
    mm.

    Args:
        positions: int [n].
        slices: Number of slices of the scan; int [n, 1] where each position is in a scan of its own.
        count: An odd number.
        xp: Operations of the arrays.

    >>> neighbor_indices(np.array([0, 2]), slices=4, count=3).tolist()
    [[0, 0, 1], [1, 2, 3]]
    """
    offsets = np.arange(count) - count // 2
    return xp.clip(xp.expand_dims(positions, -1) + offsets, 0, slices - 1)
