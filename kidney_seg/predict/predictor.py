"""A network, or several averaged, as a function from a scan's slices to probabilities; knows nothing of files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from data_prep.geometry.slice_neighbors import neighbor_indices
from kidney_seg.config.model import HEADS

if TYPE_CHECKING:
    import keras

Forward = Callable[[np.ndarray], np.ndarray]  # float32 [n, size, size, input_slices] -> [n, size, size, classes]

SLICES_PER_BATCH = 16
_PIXELS_AT_ONCE = 1 << 18  # on a processor: four slices of 256 x 256; 16 take 1.5 GB, and no less time


class Predictor:
    """Probabilities for the slices of a scan, batch by batch; see `__call__`.

    forward: the network; size, channels, classes: of its input and output; slices_per_batch: that go through at once.
    """

    def __init__(self, forward: Forward, size: int, channels: int, classes: int, slices_per_batch: int):
        self.forward = forward
        self.shape = (size, size, channels)
        self.classes = classes
        self.slices_per_batch = slices_per_batch

    @property
    def margin(self) -> int:
        """How many slices on either side of a slice the network sees, too."""
        return self.shape[-1] // 2

    def __call__(self, slices: np.ndarray, first: int = 0, last: int | None = None) -> np.ndarray:
        """Return probabilities float32 [n, size, size, classes] of the slices `first` up to, without, `last`.

        slices: HU [slices, size, size] in the order of z, those that are asked for and their neighbors in the scan;
        beyond either end the last slice stands for its neighbors. All slices without `first` and `last`.
        """
        wanted = np.arange(first, len(slices) if last is None else last)
        made = np.empty((len(wanted), *self.shape[:2], self.classes), np.float32)
        for start in range(0, len(wanted), self.slices_per_batch):
            here = slice(start, start + self.slices_per_batch)
            seen = slices[neighbor_indices(wanted[here], len(slices), self.shape[-1])]
            made[here] = self.forward(np.moveaxis(seen, 1, -1).astype(np.float32, order="C"))
        return made


def make_predictor(model: keras.Model, slices_per_batch: int = SLICES_PER_BATCH) -> Predictor:
    """Return the predictor of a Keras model; the probabilities are its finest head's."""
    finest = model.output[HEADS[-1]]
    size, channels = model.inputs[0].shape[-2:]
    return Predictor(keras_forward(model, slices_per_batch), size, channels, finest.shape[-1], slices_per_batch)


def keras_forward(model: keras.Model, slices_per_batch: int) -> Forward:
    """Return a Keras model's finest head as a function of any number of slices, `slices_per_batch` at once.

    On a processor fewer at once where they are large, for the sake of memory; it takes the same time. What is left over
    is filled up with zeros to a number that the network was traced for: 1, 2, 4, ..., as slices come, so that cases
    of one slice each do not pay for many, and volumes have one trace.
    """
    import keras

    finest = keras.Model(model.inputs, model.output[HEADS[-1]])
    height, width = model.inputs[0].shape[1:3]
    at_once = slices_per_batch
    if not _has_gpu():
        at_once = max(1, min(at_once, _PIXELS_AT_ONCE // (height * width)))

    traced: set[int] = set()

    def forward(batch: np.ndarray) -> np.ndarray:
        made = []
        for first in range(0, len(batch), at_once):
            piece = batch[first : first + at_once]
            doubled = min(1 << (len(piece) - 1).bit_length(), at_once)
            count = min((size for size in traced if size >= len(piece)), default=doubled)
            traced.add(count)
            full = np.zeros((count, *batch.shape[1:]), np.float32)
            full[: len(piece)] = piece
            made.append(finest.predict_on_batch(full)[: len(piece)])
        return np.concatenate(made)

    return forward


def _has_gpu() -> bool:
    import keras

    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
