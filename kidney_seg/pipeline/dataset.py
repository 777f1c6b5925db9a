"""tf.data batches of training slices, read from a cache.

Samples are drawn beforehand (`sampling`), so that a resumed training sees the samples that it would have seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kidney_seg.config.model import STRIDES
from kidney_seg.config.run_config import Config
from kidney_seg.pipeline.array_pool import ArrayPool
from kidney_seg.pipeline.augmentation import (
    NO_GRAY_CHANGE,
    apply_changes,
    bend,
    change_gray,
    cut_field,
    is_still,
    paste_tumor,
)
from kidney_seg.pipeline.sampling import Samples
from kidney_seg.pipeline.slice_store import SliceStore
from kidney_seg.pipeline.targets import targets

if TYPE_CHECKING:
    import tensorflow as tf

PIXELS_AT_ONCE = 2**18  # eight batches of the demo, half a batch of the paper
MOST_THREADS = 16
Columns = Mapping[str, np.ndarray]  # of `Samples`, one row per slice


class ReadyTimes:
    """Times at which batches were ready (`time.monotonic`), from which the waiting for data is measured."""

    def __init__(self) -> None:
        self._times: dict[int, float] = {}

    def note(self, steps: np.ndarray) -> None:
        """Record that the batches of these steps are ready now."""
        self._times.update(dict.fromkeys(np.ravel(steps).tolist(), time.monotonic()))

    def waited(self, step: int, asked: float) -> float:
        """Return the seconds from `asked` until the batch of this step was ready, and forget the step."""
        return max(0.0, self._times.pop(step, asked) - asked)


class BatchMaker:
    """Makes batches from columns of `Samples`: `read` and `finish` in numpy, between them the resample in a graph."""

    def __init__(self, store: SliceStore, config: Config, ready: ReadyTimes | None = None):
        self.store, self.config, self.ready, self.pool = store, config, ready or ReadyTimes(), ArrayPool()

    def read(self, sample: Columns) -> tuple[np.ndarray, np.ndarray]:
        """Return n slices, with pasted tumors, cut, bent: HU float32 [n, y, x, channels], labels uint8 [n, y, x, 1]."""
        image, label = self.store.read(sample["case"], sample["position"], self.pool.empty)
        rows = np.flatnonzero(sample["donor_case"] >= 0)
        if len(rows):
            donors = self.store.read(sample["donor_case"][rows], sample["donor_position"][rows], self.pool.empty)
            for row, donor_image, donor_label in zip(rows, *donors, strict=True):
                paste_tumor(image[row], label[row], donor_image, donor_label, sample["seed"][row])
        cut_field(image, label, sample["field"])
        bend(image, label, sample["bend_px"], sample["seed"])
        return image, label

    def finish(self, sample: Columns) -> list[np.ndarray]:
        """Return the images of `sample` with changed gray values, and the target of each head."""
        image = sample["image"]
        if (sample["gray"] != NO_GRAY_CHANGE).any():
            image = self.pool.empty(image.shape, np.float32)
            image[:] = sample["image"]
            change_gray(image, sample["gray"], sample["seed"], self.config.model.hu_window)
        goals = targets(sample["label"], self.config, self.pool.empty)
        self.ready.note(sample["step"])
        return [image, *goals.values()]

    def read_and_finish(self, sample: Columns) -> list[np.ndarray]:
        """Return images and targets of slices without an affine change."""
        image, label = self.read(sample)
        return self.finish({**sample, "image": image, "label": label})

    def graph(self, sample: dict[str, tf.Tensor], still: bool) -> list[tf.Tensor]:
        """Return `[image, *targets]` in the TensorFlow graph; `still`: no slice has an affine change."""
        import tensorflow as tf

        made = [tf.float32] * (1 + len(self.config.model.heads))
        if still:
            return _in_numpy(self.read_and_finish, sample, made)
        size = self.store.manifest.settings.size
        image, label = _in_numpy(self.read, sample, [tf.float32, tf.uint8])
        image = tf.ensure_shape(image, (None, size, size, self.config.model.input_slices))
        label = tf.ensure_shape(label, (None, size, size, 1))
        image, label = apply_changes(image, label, sample["transforms"], sample["hu_linear"])
        return _in_numpy(self.finish, {**sample, "image": image, "label": label}, made)


def training_dataset(
    store: SliceStore, epochs: Sequence[Samples], config: Config, first: int = 0, ready: ReadyTimes | None = None
) -> tf.data.Dataset:
    """Return a tf.data.Dataset of ({"image": HU}, targets by head) batches of the epochs' samples, in their order.

    It starts at step `first`; `ready` gets the time at which each batch is ready. Several small batches are made at
    once: a call into the pipeline costs as much as a small batch.
    """
    import tensorflow as tf

    columns = {name: np.concatenate([getattr(epoch, name) for epoch in epochs]) for name in vars(epochs[0])}
    still, steps = is_still(columns), np.arange(len(columns["case"]))
    size, batch, channels = store.manifest.settings.size, columns["case"].shape[1], config.model.input_slices
    at_once = max(1, PIXELS_AT_ONCE // (batch * size**2 * channels))
    leading = (batch,) if at_once == 1 else (-1, batch)
    maker = BatchMaker(store, config, ready)

    def make(sample: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        flat = {name: tf.reshape(sample[name], (-1, *column.shape[2:])) for name, column in columns.items()}
        image, *goals = maker.graph({**flat, "step": sample["step"]}, still)
        made = {}
        for head, goal in zip(config.model.heads, goals, strict=True):
            edge = size // STRIDES[head]
            made[head] = tf.reshape(goal, (*leading, edge, edge, config.model.classes))
        return {"image": tf.reshape(image, (*leading, size, size, channels))}, made

    given = {name: column[first:] for name, column in {**columns, "step": steps}.items()}
    dataset = tf.data.Dataset.from_tensor_slices(given)
    if at_once > 1:
        dataset = dataset.batch(at_once)
    threads = min(max(2, os.cpu_count() or 2), MOST_THREADS)
    # the graph has no branch: to look for one in the source takes seconds
    dataset = dataset.map(
        tf.autograph.experimental.do_not_convert(make), num_parallel_calls=threads, deterministic=True
    )
    if at_once > 1:
        dataset = dataset.unbatch()
    # There is nothing left to tune, and the tuner's thread sleeps longer each time (10 ms, doubled): an iterator that
    # is dropped waits for it, up to as long again as the round took (measured with TensorFlow 2.21, idle processors;
    # the demo took 195 s with it, 140 s without).
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(4).with_options(options)


def _in_numpy(function: Callable[[Columns], Any], sample: dict[str, tf.Tensor], types: list[Any]) -> list[tf.Tensor]:
    """Call a function of a dict of arrays in the graph."""
    import tensorflow as tf

    return tf.numpy_function(
        lambda *values: function(dict(zip(sample, values, strict=True))), list(sample.values()), types
    )
