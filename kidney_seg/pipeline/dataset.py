"""tf.data of training slices from HDF5 caches: which slices, in which order, with which changes, and their targets.

Everything random follows from (seed, round, attempt, epoch) alone, so a training that was stopped goes on with the
very samples that it would have seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kidney_seg.config.model import STRIDES
from kidney_seg.config.run_config import Config
from kidney_seg.pipeline.array_pool import ArrayPool
from kidney_seg.pipeline.augmentation import NO_GRAY_CHANGE, apply_changes, bend, change_gray, paste_tumor
from kidney_seg.pipeline.slice_store import SliceStore
from kidney_seg.pipeline.targets import targets

if TYPE_CHECKING:
    import tensorflow as tf
from kidney_seg.pipeline.sampling import Samples

PIXELS_AT_ONCE = 2**18  # eight batches of the demo, half a batch of the paper
MOST_THREADS = 16


class ReadyTimes:
    """When each batch was ready, by the clock of `time.monotonic`: what tells how long a training waits for data."""

    def __init__(self) -> None:
        self._times: dict[int, float] = {}

    def note(self, steps: np.ndarray) -> None:
        """Note that the batches of these steps are ready now."""
        self._times.update(dict.fromkeys(np.ravel(steps).tolist(), time.monotonic()))

    def waited(self, step: int, asked: float) -> float:
        """Return the seconds from `asked` until the batch of this step was ready, and forget the step."""
        return max(0.0, self._times.pop(step, asked) - asked)


def training_dataset(
    store: SliceStore, epochs: Sequence[Samples], config: Config, first: int = 0, ready: ReadyTimes | None = None
) -> tf.data.Dataset:
    """Return a tf.data.Dataset of ({"image": HU}, targets) batches, in the order of the given epochs' samples.

    It begins at step `first` of them; `ready` is told when each batch is. Batches are as large as the samples say.
    Several small ones are made at once: a call into the pipeline costs as much as a small batch.
    """
    import tensorflow as tf

    names = Samples.__dataclass_fields__
    columns = {name: np.concatenate([getattr(epoch, name) for epoch in epochs]) for name in names}
    still = _still(columns["transforms"], columns["hu_linear"])
    grays_stay = bool((columns["gray"] == NO_GRAY_CHANGE).all())
    steps = np.arange(len(columns["case"]))
    size, batch, channels = store.manifest.settings.size, epochs[0].case.shape[1], config.model.input_slices
    heads, pool = config.model.heads, ArrayPool()
    at_once = max(1, PIXELS_AT_ONCE // (batch * size**2 * channels))
    leading = (batch,) if at_once == 1 else (-1, batch)

    def read(
        case: np.ndarray,
        position: np.ndarray,
        donor_case: np.ndarray,
        donor_position: np.ndarray,
        bend_px: np.ndarray,
        seed: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        image, label = store.read(case, position, pool.empty)
        pasted = np.flatnonzero(donor_case >= 0)
        if len(pasted):
            images, labels = store.read(donor_case[pasted], donor_position[pasted], pool.empty)
            for row, given, truth in zip(pasted, images, labels, strict=True):
                paste_tumor(image[row], label[row], given, truth, seed[row])
        bend(image, label, bend_px, seed)
        return image, label

    def finish(step: np.ndarray, label: np.ndarray) -> list[np.ndarray]:
        made = targets(label, config, pool.empty)
        if ready is not None:
            ready.note(step)
        return list(made.values())

    def read_and_finish(step: np.ndarray, *sample: np.ndarray) -> list[np.ndarray]:
        image, label = read(*sample)
        return [image, *finish(step, label)]

    def regray(image: np.ndarray, gray: np.ndarray, seed: np.ndarray) -> np.ndarray:
        changed = pool.empty(image.shape, np.float32)
        changed[:] = image
        change_gray(changed, gray, seed, config.model.hu_window)
        return changed

    def make(
        step: tf.Tensor,
        case: tf.Tensor,
        position: tf.Tensor,
        donor_case: tf.Tensor,
        donor_position: tf.Tensor,
        transforms: tf.Tensor,
        hu_linear: tf.Tensor,
        gray: tf.Tensor,
        bend_px: tf.Tensor,
        seed: tf.Tensor,
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        flat = (case, position, donor_case, donor_position, bend_px, seed)
        sample = [tf.reshape(values, [-1]) for values in flat]
        floats = [tf.float32] * len(heads)
        if still and grays_stay:
            image, *goals = tf.numpy_function(read_and_finish, [step, *sample], [tf.float32, *floats])
        else:
            image, label = tf.numpy_function(read, sample, [tf.float32, tf.uint8])
            image = tf.ensure_shape(image, (None, size, size, channels))
            label = tf.ensure_shape(label, (None, size, size, 1))
            changes = tf.reshape(transforms, (-1, 8)), tf.reshape(hu_linear, (-1, 2))
            image, label = apply_changes(image, label, *changes)
            if not grays_stay:
                given = [image, tf.reshape(gray, (-1, 3)), sample[-1]]
                image = tf.numpy_function(regray, given, tf.float32)
            with tf.control_dependencies([image]):
                goals = tf.numpy_function(finish, [step, label], floats)
        edges = {head: size // STRIDES[head] for head in heads}
        made = {
            head: tf.reshape(goal, (*leading, edges[head], edges[head], config.model.classes))
            for head, goal in zip(heads, goals, strict=True)
        }
        return {"image": tf.reshape(image, (*leading, size, size, channels))}, made

    dataset = tf.data.Dataset.from_tensor_slices(tuple(column[first:] for column in (steps, *columns.values())))
    if at_once > 1:
        dataset = dataset.batch(at_once)
    dataset = dataset.map(make, num_parallel_calls=_threads(), deterministic=True)
    if at_once > 1:
        dataset = dataset.unbatch()
    # Nothing is left to tune, and the tuner's thread sleeps ever longer (10 ms, doubled each time): an iterator that is
    # given up waits for it, up to as long again as the round took (measured with TensorFlow 2.21, the processors idle).
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(4).with_options(options)


def _still(transforms: np.ndarray, hu_linear: np.ndarray) -> bool:
    """Return whether these changes leave every slice as it is."""
    same = np.array([1, 0, 0, 0, 1, 0, 0, 0], np.float32), np.array([1, 0], np.float32)
    return bool((transforms == same[0]).all() and (hu_linear == same[1]).all())


def _threads() -> int:
    """Return how many batches are made at a time: one a processor, within reason."""
    return min(max(2, os.cpu_count() or 2), MOST_THREADS)
