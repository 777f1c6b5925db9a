"""Draw the patients of a round and the slices of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kidney_seg.config.run_config import Config
from kidney_seg.pipeline.augmentation import draw_changes
from kidney_seg.pipeline.slice_store import TUMOR, SliceStore

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
