"""Neighboring slices as channels of the network's input (`input_slices`), the same in training and prediction."""

from __future__ import annotations

import numpy as np


def neighbor_indices(positions: np.ndarray, slices: int | np.ndarray, count: int) -> np.ndarray:
    """Return the slices that the network sees for each position: int [n, count], the position itself in the middle.

    `positions`: int [n], in a scan of `slices` slices, or each in one of its own, int [n, 1]; `count` is odd. Beyond
    either end the last slice is repeated. Neighbors are the scan's own slices, whatever their distance in mm.

    >>> neighbor_indices(np.array([0, 2]), slices=4, count=3).tolist()
    [[0, 0, 1], [1, 2, 3]]
    """
    offsets = np.arange(count) - count // 2
    return np.clip(np.asarray(positions)[:, None] + offsets, 0, slices - 1)
