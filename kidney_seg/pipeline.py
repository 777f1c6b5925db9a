"""tf.data of training slices from HDF5 caches: which slices, in which order, with which changes, and their targets.

Everything random follows from (seed, round, attempt, epoch) alone, so a training that was stopped goes on with the
very samples that it would have seen.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep import cache
from kidney_seg.augment import apply_changes, draw_changes
from kidney_seg.config import STRIDES, Config
from kidney_seg.neighbors import neighbor_indices

if TYPE_CHECKING:
    import tensorflow as tf

TUMOR, KIDNEY_ONLY, NEITHER = 0, 1, 2  # what a slice shows; the order of `DataConfig.shares`
SAMPLES, PATIENTS = 1, 2  # streams of random numbers, so that drawing patients never shifts the samples


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


class SliceStore:
    """Slices of labelled cases, decoded once and kept up to `memory_gb`; the rest is read from disk slice by slice.

    Images have `input_slices` channels: a slice and its neighbors (`neighbor_indices`).
    """

    def __init__(
        self, manifest: cache.Manifest, entries: Sequence[cache.CacheEntry], memory_gb: float, input_slices: int = 1
    ):
        self.manifest = manifest
        self.input_slices = input_slices
        self.entries = tuple(entry for entry in entries if entry.labelled)
        self._decoded: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        room = memory_gb * 1e9
        for index, entry in enumerate(self.entries):
            room -= entry.slices * manifest.settings.size**2 * 3  # int16 image and uint8 label
            if room < 0:
                break
            self._decoded[index] = cache.read_labelled_case(manifest, entry)

    def read(self, case: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return images int16 [n, size, size, input_slices] and labels uint8 [n, size, size, 1] of n (case, slice)."""
        size = self.manifest.settings.size
        images = np.empty((len(case), size, size, self.input_slices), np.int16)
        labels = np.empty((len(case), size, size, 1), np.uint8)
        for row, (index, own) in enumerate(zip(case, position, strict=True)):
            seen = neighbor_indices(np.array([own]), self.entries[index].slices, self.input_slices)[0]
            for channel, number in enumerate(seen):
                image, label = self._slice(index, int(number))
                images[row, ..., channel] = image
                if number == own:
                    labels[row, ..., 0] = label
        return images, labels

    def _slice(self, case: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        if case in self._decoded:
            image, label = self._decoded[case]
            return image[number], label[number]
        return cache.read_slice(self.manifest, self.entries[case], number)

    def places(self, patients: Sequence[str]) -> list[dict[str, list[tuple[int, int]]]]:
        """Return, for TUMOR, KIDNEY_ONLY and NEITHER, the (case, slice) pairs of each of the patients that has any."""
        kinds: list[dict[str, list[tuple[int, int]]]] = [{}, {}, {}]
        wanted = set(patients)
        for index, entry in enumerate(self.entries):
            if entry.patient in wanted:
                for position, (_, kidney, tumor) in enumerate(entry.pixels or ()):
                    kind = TUMOR if tumor else KIDNEY_ONLY if kidney else NEITHER
                    kinds[kind].setdefault(entry.patient, []).append((index, position))
        return kinds


@dataclass(frozen=True)
class Samples:
    """The samples of an epoch, in order: all arrays have `steps` rows and `batch_size` columns."""

    case: np.ndarray
    position: np.ndarray
    transforms: np.ndarray
    hu_linear: np.ndarray

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
    return Samples(
        case=chosen[..., 0],
        position=chosen[..., 1],
        transforms=changes.transforms.reshape(steps, data.batch_size, 8),
        hu_linear=changes.hu_linear.reshape(steps, data.batch_size, 2),
    )


def targets(label: tf.Tensor, config: Config) -> dict[str, tf.Tensor]:
    """Return the one-hot target of every head, float32 [batch, size/s, size/s, classes], in the TensorFlow graph.

    `label`: uint8 [batch, size, size, 1]. Coarse heads take every s-th pixel (`strided`, as the authors' code) or the
    share of each class in a block of s x s (`average`: a small tumor does not vanish).
    """
    import tensorflow as tf

    one_hot = tf.one_hot(label[..., 0], config.model.classes)
    made = {}
    for head in config.model.heads:
        stride = STRIDES[head]
        if stride > 1 and config.loss.coarse_targets == "average":
            made[head] = tf.nn.avg_pool2d(one_hot, stride, stride, "VALID")
        else:
            made[head] = one_hot[:, ::stride, ::stride]
    return made


class ReadyTimes:
    """When each batch was ready, by the clock of `time.monotonic`: what tells how long a training waits for data."""

    def __init__(self) -> None:
        self._times: dict[int, float] = {}

    def note(self, step: np.ndarray) -> np.ndarray:
        """Note that the batch of this step is ready now; returns the step, to be a stage of a pipeline."""
        self._times[int(step)] = time.monotonic()
        return step

    def waited(self, step: int, asked: float) -> float:
        """Return the seconds from `asked` until the batch of this step was ready, and forget the step."""
        return max(0.0, self._times.pop(step, asked) - asked)


def training_dataset(
    store: SliceStore, epochs: Sequence[Samples], config: Config, first: int = 0, ready: ReadyTimes | None = None
) -> tf.data.Dataset:
    """Return a tf.data.Dataset of ({"image": HU}, targets) batches, in the order of the given epochs' samples.

    It begins at step `first` of them; `ready` is told when each batch is. Batches are as large as the samples say.
    """
    import tensorflow as tf

    columns = [np.concatenate([getattr(epoch, name) for epoch in epochs]) for name in Samples.__dataclass_fields__]
    steps = np.arange(len(columns[0]))
    size, batch, channels = store.manifest.settings.size, epochs[0].case.shape[1], config.model.input_slices

    def batch_of(
        step: tf.Tensor, case: tf.Tensor, position: tf.Tensor, transforms: tf.Tensor, hu_linear: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        image, label = tf.numpy_function(store.read, [case, position], [tf.int16, tf.uint8])
        image = tf.cast(tf.ensure_shape(image, (batch, size, size, channels)), tf.float32)
        label = tf.ensure_shape(label, (batch, size, size, 1))
        image, label = apply_changes(image, label, transforms, hu_linear)
        goal = targets(label, config)
        if ready is not None:
            with tf.control_dependencies([image, *goal.values()]):
                noted = tf.numpy_function(ready.note, [step], step.dtype)
            with tf.control_dependencies([noted]):
                image = tf.identity(image)
        return {"image": image}, goal

    dataset = tf.data.Dataset.from_tensor_slices(tuple(column[first:] for column in (steps, *columns)))
    dataset = dataset.map(batch_of, num_parallel_calls=2, deterministic=True).prefetch(4)
    # Nothing is left to tune, and the tuner's thread sleeps ever longer (10 ms, doubled each time): an iterator that is
    # given up waits for it, up to as long again as the round took (measured with TensorFlow 2.21, the processors idle).
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
