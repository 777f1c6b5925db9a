"""How long a round and the whole run will still take, from the seconds of the steps and validations so far."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from kidney_seg.config.run_config import Config
from kidney_seg.run.journal import AttemptTrained, Journal

RECENT = 200  # steps whose mean counts: a machine may become slower or faster
PAUSE = 10.0  # times the median of them: such a step was a pause of the process or the computer, and does not count
FORWARD_SHARE = 1 / 3  # of a step, in which the gradients take the rest: a guess until a validation is measured
SCORING_FACTOR = 2.0  # a test slice, with its resampling and scores, against one of validation


@dataclass
class RunClock:
    """The clock of a run. validation_slices, test_slices: how many are predicted after every attempt, and at the end.

    step_s, validation_s: seconds of a step and of a validation; None until they are known.
    """

    config: Config
    validation_slices: int = 0
    test_slices: int = 0
    step_s: float | None = None
    validation_s: float | None = None
    now: Callable[[], float] = time.monotonic
    _last: float | None = None  # the end of the last step
    _steps: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def resume(self, journal: Journal) -> None:
        """Take the seconds of a step from what the journal holds; a first epoch, which may be traced, counts last."""
        for event in journal.all_of(AttemptTrained):
            rows = [(int(row["steps"] or 0), float(row.get("seconds") or 0)) for row in event.history]
            steps = [0, *(count for count, _ in rows)]
            known = [
                (seconds, after - before)
                for (_, seconds), before, after in zip(rows, steps, steps[1:], strict=False)
                if after > before
            ]
            used = known[1:] or known
            if used:
                self.step_s = sum(seconds for seconds, _ in used) / sum(count for _, count in used)

    def start(self) -> None:
        """Start an attempt: what happened since the last step does not count as one."""
        self._last = None
        self._steps.clear()

    def tick(self) -> None:
        """Note that a step has ended."""
        before, self._last = self._last, self.now()
        if before is not None:
            self._steps.append(self._last - before)
            longest = PAUSE * statistics.median(self._steps)
            self.step_s = statistics.fmean(seconds for seconds in self._steps if seconds <= longest)

    def validated(self) -> None:
        """Note that the validation of an attempt has ended, which began with its last step."""
        if self._last is not None:
            self.validation_s = self.now() - self._last

    def left_s(self, number: int, attempt: int, steps_left: int) -> tuple[float, float] | None:
        """Return the seconds left of an attempt, and at most of the run; None before the second step.

        At most, because training may end before its last round. Retries of collapsed rounds are not foreseen.
        """
        if self.step_s is None:
            return None
        per_slice = FORWARD_SHARE * self.step_s / self.config.data.batch_size
        if self.validation_s is not None and self.validation_slices:
            per_slice = self.validation_s / self.validation_slices
        validation = self.validation_s if self.validation_s is not None else per_slice * self.validation_slices
        steps, validations = self._after(number, attempt)
        test = SCORING_FACTOR * per_slice * self.test_slices
        own = steps_left * self.step_s + validation
        return own, own + steps * self.step_s + validations * validation + test

    def _after(self, number: int, attempt: int) -> tuple[int, int]:
        """Return the steps and validations that are planned after an attempt."""
        rounds = self.config.rounds
        count, steps, _ = rounds.later_rounds()
        starts = max(0, rounds.starts - attempt - 1) if number == 0 else 0
        later = count if number == 0 else max(0, count - number)
        return starts * rounds.start_steps + later * steps, starts + later


def duration(seconds: float) -> str:
    """Return a length of time in words.

    >>> duration(20), duration(150), duration(3720)
    ('20 s', '2 min', '1 h 02 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = int(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
