"""Training targets: the one-hot labels of every head."""

from __future__ import annotations

from functools import cache

import numpy as np

from kidney_seg.config.model import STRIDES
from kidney_seg.config.run_config import Config
from kidney_seg.pipeline.slice_store import Empty


def targets(label: np.ndarray, config: Config, empty: Empty = np.empty) -> dict[str, np.ndarray]:
    """Return the one-hot target of every head, float32 [batch, size/s, size/s, classes].

    Coarse heads take every s-th pixel (`strided`, as in Abraham's code) or the share of each class in a block of
    s x s (`average`: a small tumor does not vanish). `empty` makes the arrays. `label`: uint8 [batch, size, size, 1] of
    values 0 to 3; a value that is no class is 0 in all classes.
    """
    classes, average = config.model.classes, config.loss.coarse_targets == "average"
    made = {}
    for head in config.model.heads:
        stride = STRIDES[head]
        if average:
            made[head] = _halved(one_hot(label[..., 0], classes, empty), stride)
        else:
            made[head] = one_hot(label[:, ::stride, ::stride, 0], classes, empty)
    return made


def one_hot(label: np.ndarray, classes: int, empty: Empty = np.empty) -> np.ndarray:
    """Return float32 [..., classes] of uint8 labels 0 to 3 [...]; the number of labels is a multiple of 4.

    >>> one_hot(np.array([0, 1, 2, 3], np.uint8), 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    # Four labels at a time, from a table of all their combinations: about ten times as fast as one by one.
    fours = np.ascontiguousarray(label).reshape(-1).view("<u4")
    combined = fours * np.uint32(0x40100401) >> np.uint32(24)  # two bits per label, the first label's on top
    made = empty((len(fours), 4 * classes), np.float32)
    np.take(_table(classes), combined, axis=0, out=made, mode="clip")
    return made.reshape(*label.shape, classes)


@cache
def _table(classes: int) -> np.ndarray:
    digits = np.arange(256)[:, None] >> np.array([6, 4, 2, 0]) & 3
    return np.eye(4, classes, dtype=np.float32)[digits].reshape(256, 4 * classes)


def _halved(shares: np.ndarray, stride: int) -> np.ndarray:
    # the mean of blocks of stride x stride, in halves: all sums are exact
    while stride > 1:
        rows = shares[:, ::2] + shares[:, 1::2]
        shares, stride = (rows[:, :, ::2] + rows[:, :, 1::2]) / 4, stride // 2
    return shares
