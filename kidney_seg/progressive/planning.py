"""Plans of the rounds: which training comes next, on which samples and from which weights. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kidney_seg.config.run_config import Config
from kidney_seg.pipeline.sampling import WEIGHTS, Samples, draw_patients, draw_samples, generator
from kidney_seg.pipeline.slice_store import SliceStore
from kidney_seg.run.journal import RoundPlayed

EPOCHS = 5  # largest number of epochs, and so of reports, per round


@dataclass(frozen=True)
class Attempt:
    """One training: a start of round 0, or an attempt of a later round; `samples` holds one `Samples` per epoch.

    `start`: the round whose weights it starts from; None in round 0, and in every round with `warm_start=none`: it then
    starts from the run's pretrained weights, or from random ones that follow from `seed` and differ by round.
    """

    round: int
    attempt: int
    patients: list[str]
    samples: list[Samples]
    rate: float
    start: RoundPlayed | None
    seed: int

    @property
    def name(self) -> str:
        """Name in log lines."""
        if self.round == 0:
            return f"round 0, start {self.attempt + 1}"
        return f"round {self.round}" + (f", attempt {self.attempt + 1}" if self.attempt else "")

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return sum(len(epoch.case) for epoch in self.samples)

    @property
    def place(self) -> dict[str, Any]:
        """Round and attempt, as in the journal and in checkpoints."""
        return {"round": self.round, "attempt": self.attempt}


def plan_attempt(
    config: Config,
    seed: int,
    store: SliceStore,
    patients: Sequence[str],
    place: tuple[int, int],
    start: RoundPlayed | None = None,
) -> Attempt:
    """Return the training of a `place` (round, attempt); it follows from these arguments alone.

    Round 0 trains on all `patients`; later rounds on a new draw of them, at a lower rate; every further attempt of a
    round that collapsed at half the rate of the one before.
    """
    number, attempt = place
    rounds = config.rounds
    rate, steps, share = rounds.peak_rate * rounds.rate_decay**number, rounds.start_steps, 1.0
    if number:
        _, steps, share = rounds.later_rounds()
        rate *= 0.5**attempt
    drawn = draw_patients(patients, share, seed, number, attempt)
    most = EPOCHS * max(1, steps // rounds.steps)
    epochs = max(count for count in range(1, most + 1) if steps % count == 0)
    samples = [draw_samples(store, drawn, steps // epochs, config, seed, *place, epoch) for epoch in range(epochs)]
    weights_seed = 1000 * seed + attempt
    if number:
        weights_seed = int(generator(seed, WEIGHTS, number, attempt).integers(2**31))
    return Attempt(number, attempt, drawn, samples, rate, start, weights_seed)
