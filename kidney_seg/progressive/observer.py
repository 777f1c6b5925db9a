"""Reports of a training in progress: lines or a bar, curves, pictures of the worst cases."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from data_prep.cli import LINE_SECONDS
from kidney_seg.config.run_config import Config
from kidney_seg.figures.overlays import Example, overlay_grid
from kidney_seg.figures.style import save as save_figure
from kidney_seg.figures.training_curves import learning_curves
from kidney_seg.progressive.acceptance import describe_round
from kidney_seg.progressive.clock import RunClock, duration
from kidney_seg.progressive.planning import Attempt
from kidney_seg.progressive.validation import Validation
from kidney_seg.run import layout
from kidney_seg.run.folder import RunFolder
from kidney_seg.run.journal import AttemptTrained, RoundPlayed
from kidney_seg.training.loggers import open_logger

REDRAW_SECONDS = 10.0  # the curves are drawn after every epoch, but not more often
WAITING_SHARE = 0.03  # of an epoch; a larger share spent waiting for data is logged


class RoundObserver:
    """Hears of every step of the rounds of a run. `log` gets one line per event."""

    def __init__(
        self,
        run: RunFolder,
        config: Config,
        log: Callable[[str], None],
        slices: tuple[int, int] = (0, 0),
        logger: str = "tensorboard",
    ):
        """`slices`: how many are predicted after each attempt, and of the test patients; `logger`: one of LOGGERS."""
        self.run, self.config, self.log = run, config, log
        self.clock = RunClock(config, *slices)
        self.clock.resume(run.journal)
        self._logger = logger
        self._drawn = 0.0
        self._traced = False
        self._bar: Any = None

    def attempt_planned(self, attempt: Attempt) -> None:
        """Log what is trained."""
        weights = ", from pretrained weights" if attempt.start is None and self.run.pretrained else ""
        self.log(
            f"{attempt.name}: {attempt.steps} steps of {self.config.data.batch_size} slices of "
            f"{len(attempt.patients)} patients, rate {attempt.rate:.2g}{weights}"
        )

    def attempt_started(self, attempt: Attempt, rows: Sequence[dict], steps: int) -> None:
        """Start to measure an attempt; `rows`, `steps`: what a resumed one has done already."""
        if steps:
            self.log(f"{attempt.name}: resumed after step {steps}")
        self.attempt, self.rows, self._started = attempt, list(rows), time.monotonic()
        history = self.run.journal.history()
        self._before = max((row["step"] for row in history if row["round"] < attempt.round), default=0)
        self.clock.start()
        self._said = time.monotonic()
        if not self._traced:
            self.log(f"{attempt.name}: the first step is prepared, which takes about 20 s")
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=attempt.steps, initial=steps, desc=attempt.name, unit="step", leave=False)
        folder = layout.tensorboard(attempt.round, attempt.attempt)
        self._board = open_logger(self._logger, self.run.root, folder, self.config)

    def step_ended(self, steps: int, loss: float) -> None:
        """Show the step, its loss and the time left: in a bar, or without a terminal in a line once a minute."""
        if self._traced:  # the first step of a process took its preparation along
            self.clock.tick()
        self._traced = True
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4f}{self._left(steps)}", refresh=False)
            self._bar.update(steps - self._bar.n)
        elif time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            self.log(f"{self.attempt.name}: step {steps}/{self.attempt.steps}  loss {loss:.4f}{self._left(steps)}")

    def _left(self, steps: int) -> str:
        left = self.clock.left_s(self.attempt.round, self.attempt.attempt, self.attempt.steps - steps)
        if left is None:
            return ""
        return f"; left: round {duration(left[0])}, run up to {duration(left[1])}"

    def close(self) -> None:
        """End the bar of an attempt, if there is one."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def epoch_ended(self, row: dict[str, Any]) -> None:
        """Log an epoch with the time left, and update TensorBoard and the curves."""
        attempt, seconds = self.attempt, time.monotonic() - self._started
        loss = "NaN" if row["loss"] is None else f"{row['loss']:.4f}"
        waited = row["waited"] / max(row["seconds"], 1e-9)
        data = f", {waited:.0%} of the epoch waiting for data" if waited > WAITING_SHARE else ""
        epoch = f"epoch {row['epoch'] + 1}/{len(attempt.samples)}"
        self._said = time.monotonic()
        self.log(f"{attempt.name}: {epoch}  loss {loss}  {seconds:.0f} s{data}{self._left(row['steps'])}")
        self.rows.append(row)
        values = {name: value for name, value in row.items() if name not in ("epoch", "steps")}
        self._board.scalars(self._before + row["steps"], values)
        if time.monotonic() - self._drawn > REDRAW_SECONDS:
            self.draw_curves(AttemptTrained(**attempt.place, steps=row["steps"], history=self.rows))

    def attempt_validated(self, validation: Validation, worst: Sequence[Example]) -> None:
        """Add the scores and the `worst` cases to TensorBoard, and close the attempt's log."""
        self.close()
        self.clock.validated()
        step = self._before + self.rows[-1]["steps"]
        scores = {"Dice kidney": validation.kidney, "Dice tumor": validation.tumor, "score": validation.score}
        self._board.scalars(step, scores)
        if worst:
            path = self.run.place(layout.worst_cases(self.attempt.round, self.attempt.attempt))
            picture = save_figure(overlay_grid(worst, self.config.model.hu_window), path)
            self._board.picture(step, "worst cases", picture)
        self._board.close()

    def attempt_trained(self, record: AttemptTrained) -> None:
        """Log the scores of an attempt."""
        values = {"kidney": record.kidney, "tumor": record.tumor}
        dice = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if value is not None)
        cases = f"{len(record.cases)} {self.config.rounds.stop_on} cases"
        if record.tumor is None and record.cases:
            dice = f"{dice}, tumor not judged" if dice else "nothing to judge by"
        trouble = f"; trouble: {record.trouble}" if record.trouble else ""
        self.log(f"{self.attempt.name}: score {record.score:.3f} (Dice of {cases}: {dice}){trouble}")

    def round_played(self, record: RoundPlayed, best: RoundPlayed | None) -> None:
        """Log whether a round improves on the `best` before it, and update the curves."""
        self.draw_curves()
        result = describe_round(record, best, self.config.rounds.min_delta)
        self.log(f"round {record.round}: score {record.score:.3f}, {result}")

    def draw_curves(self, running: AttemptTrained | None = None) -> None:
        """Draw the curves from the journal and the attempt in progress."""
        history = self.run.journal.history(running)
        save_figure(learning_curves(history, self.run.journal.rounds(history)), self.run.root / layout.CURVES)
        self._drawn = time.monotonic()
