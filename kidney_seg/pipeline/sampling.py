"""Draw the patients of a round and the slices of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kidney_seg.config.run_config import Config
from kidney_seg.pipeline.augmentation import draw_changes
from kidney_seg.pipeline.slice_store import WITH_TUMOR, SliceStore

SAMPLES, PATIENTS, WEIGHTS = 1, 2, 3  # streams of random numbers: drawing patients never shifts the samples


def generator(seed: int, stream: int, *place: int) -> np.random.Generator:
    """Return the random generator of one place (round, attempt, epoch) of a run; it depends on nothing else."""
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
    """The samples of an epoch, in order: the one list of columns. All arrays have the shape [steps, batch_size, ...].

    Attributes:
        case, position: the slice.
        donor_case, donor_position: the slice whose tumor is pasted into it; -1 for none.
        transforms: float32 [..., 8]: output pixel (x, y) takes from source (a0 x + a1 y + a2, a3 x + a4 y + a5), the
            form of TensorFlow's projective transform.
        hu_linear: float32 [..., 2]: factor and offset, HU -> factor * HU + offset.
        gray: float32 [..., 3]: SD of the blur (pixels), power of the gray values in the window, SD of the noise (HU).
        bend_px: float32: SD of the elastic deformation in pixels.
        field: float32: side of the square that a slice is cut to, as a share of its own.
        seed: int64: seed of a slice's paste, elastic deformation and noise.
    """

    case: np.ndarray
    position: np.ndarray
    donor_case: np.ndarray
    donor_position: np.ndarray
    transforms: np.ndarray
    hu_linear: np.ndarray
    gray: np.ndarray
    bend_px: np.ndarray
    field: np.ndarray
    seed: np.ndarray

    def rows(self, own: slice) -> Samples:
        """Return the samples of these places of every batch: the share of one of several processes."""
        return Samples(**{name: values[:, own] for name, values in vars(self).items()})


def _deal(shares: np.ndarray, steps: int, batch_size: int) -> np.ndarray:
    """Return the number of slices per batch and kind, int [steps, kinds]: the `shares`, rounded over batches."""
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

    Every batch holds the three kinds of slices in the shares of the settings, rounded so that they are right over all
    batches; a kind that no patient has leaves its share to the others. Within a kind the patients take turns in random
    order, each with one random slice: a scan of 1000 thin slices counts no more than one of 30 thick slices.
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
    changes = draw_changes(rng, steps * data.batch_size, size, data, middle_hu=sum(config.model.hu_window) / 2)
    donors = np.full_like(chosen, -1)
    if data.tumor_paste and kinds[WITH_TUMOR]:
        given = list(kinds[WITH_TUMOR].values())
        for row in np.argwhere(rng.random(chosen.shape[:2]) < data.tumor_paste):
            places = given[rng.integers(len(given))]
            donors[*row] = places[rng.integers(len(places))]
    return Samples(
        *np.moveaxis(chosen, -1, 0),
        *np.moveaxis(donors, -1, 0),
        **{name: values.reshape(steps, data.batch_size, *values.shape[1:]) for name, values in changes.items()},
    )
