"""tf.data of training slices from HDF5 caches: which slices, in which order, with which changes, and their targets.

Everything random follows from (seed, round, attempt, epoch) alone, so a training that was stopped goes on with the
very samples that it would have seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kidney_seg.arrays import ArrayPool
from kidney_seg.augment import NO_GRAY_CHANGE, apply_changes, bend, change_gray, draw_changes, paste_tumor
from kidney_seg.config import STRIDES, Config
from kidney_seg.slices import TUMOR, SliceStore
from kidney_seg.targets import targets

if TYPE_CHECKING:
    import tensorflow as tf

SAMPLES, PATIENTS = 1, 2  # streams of random numbers, so that drawing patients never shifts the samples
PIXELS_AT_ONCE = 2**18  # eight batches of the demo, half a batch of the paper
MOST_THREADS = 16


def generator(seed: int, stream: int, *place: int) -> np.random.Generator:
    """Return the generator of random numbers for one place (round, attempt, epoch) of a run."""
    return np.random.default_rng([seed, stream, *place])


def draw_patients(patients: Sequence[str], share: float, seed: int, round_number: int, attempt: int) -> list[str]:
    """Draw a round's patients without replacement, sorted. paper: "randomly selected training dataset".

    At least one; a share of 1 gives all of them.
    """
    count = max(1, round(share * len(patients)))
    chosen = generator(seed, PATIENTS, round_number, attempt).choice(len(patients), count, replace=False)
    return sorted(patients[index] for index in chosen)


@dataclass(frozen=True)
class Samples:
    """The samples of an epoch, in order: all arrays have `steps` rows and `batch_size` columns.

    `donor_case`, `donor_position`: the slice whose tumor is pasted into the sample; -1 for none.
    """

    case: np.ndarray
    position: np.ndarray
    donor_case: np.ndarray
    donor_position: np.ndarray
    transforms: np.ndarray
    hu_linear: np.ndarray
    gray: np.ndarray
    bend_px: np.ndarray
    seed: np.ndarray

    def rows(self, own: slice) -> Samples:
        """Return the samples in these columns of every batch: what one of several processes feeds."""
        return Samples(**{name: getattr(self, name)[:, own] for name in self.__dataclass_fields__})


def _deal(shares: np.ndarray, steps: int, batch_size: int) -> np.ndarray:
    """Return how many slices of each kind every batch holds, int [steps, kinds]: whole numbers near the shares."""
    counts = np.zeros((steps, len(shares)), int)
    owed = np.zeros(len(shares))
    for step in range(steps):
        owed += shares * batch_size
        counts[step] = np.floor(np.maximum(owed, 0) + 1e-9)
        for _ in range(batch_size - counts[step].sum()):
            counts[step, np.argmax(owed - counts[step])] += 1
        owed -= counts[step]
    return counts


def draw_samples(
    store: SliceStore, patients: Sequence[str], steps: int, config: Config, seed: int, *place: int
) -> Samples:
    """Draw the slices and changes of one epoch; `place` is (round, attempt, epoch).

    Every batch holds the three kinds of slices in the set shares (rounded so that they come out right over batches;
    a kind that no patient has gives its share to the others). Within a kind the patients take turns in random order,
    and each gives one of its slices at random, so that a scan of 1000 thin slices does not drown one of 30 thick ones.
    """
    rng = generator(seed, SAMPLES, *place)
    data, size = config.data, store.manifest.settings.size
    kinds = store.places(patients)
    shares = np.array([share if kind else 0.0 for share, kind in zip(data.shares, kinds, strict=True)])
    if shares.sum() == 0:
        shares = np.array([float(bool(kind)) for kind in kinds])
    counts = _deal(shares / shares.sum(), steps, data.batch_size)

    rows: list[list[tuple[int, int]]] = [[] for _ in range(steps)]
    for kind, by_patient in enumerate(kinds):
        names = list(by_patient)
        turn: list[str] = []
        for step in range(steps):
            for _ in range(counts[step, kind]):
                turn = turn or [names[index] for index in rng.permutation(len(names))]
                places = by_patient[turn.pop()]
                rows[step].append(places[rng.integers(len(places))])
    chosen = np.array(rows, np.int64).reshape(steps, data.batch_size, 2)
    middle_hu = sum(config.model.hu_window) / 2
    changes = draw_changes(rng, steps * data.batch_size, size, data, middle_hu)
    drawn = {name: values.reshape(steps, data.batch_size, *values.shape[1:]) for name, values in vars(changes).items()}
    donors = np.full_like(chosen, -1)
    if data.tumor_paste and kinds[TUMOR]:
        given = list(kinds[TUMOR].values())
        for row in np.argwhere(rng.random(chosen.shape[:2]) < data.tumor_paste):
            places = given[rng.integers(len(given))]
            donors[*row] = places[rng.integers(len(places))]
    return Samples(
        case=chosen[..., 0],
        position=chosen[..., 1],
        donor_case=donors[..., 0],
        donor_position=donors[..., 1],
        **drawn,
    )


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
