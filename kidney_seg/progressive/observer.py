"""Reports of a training in progress: log lines, TensorBoard, curves, and pictures of the worst cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from kidney_seg.config.run_config import Config
from kidney_seg.figures.overlays import Example, overlay_grid
from kidney_seg.figures.style import save as save_figure
from kidney_seg.figures.training_curves import learning_curves
from kidney_seg.progressive.acceptance import describe_round
from kidney_seg.progressive.planning import Attempt
from kidney_seg.progressive.validation import Validation
from kidney_seg.run import layout
from kidney_seg.run.folder import RunFolder
from kidney_seg.run.journal import AttemptTrained, RoundPlayed
from kidney_seg.training.tensorboard import Board

REDRAW_SECONDS = 10.0  # the curves are drawn after every epoch, but not more often
WAITING_SHARE = 0.03  # of an epoch; a larger share spent waiting for data is logged


class RoundObserver:
    """Hears of every step of the rounds of a run. `log` gets one line per event."""

    def __init__(self, run: RunFolder, config: Config, log: Callable[[str], None]):
        self.run, self.config, self.log = run, config, log
        self._drawn = 0.0

    def attempt_planned(self, attempt: Attempt) -> None:
        """Log what is trained."""
        weights = ", from pretrained weights" if attempt.round == 0 and self.run.pretrained else ""
        self.log(
            f"{attempt.name}: {attempt.steps} steps of {self.config.data.batch_size} slices of "
            f"{len(attempt.patients)} patients, rate {attempt.rate:.2g}{weights}"
        )

    def attempt_started(self, attempt: Attempt, rows: Sequence[dict], steps: int) -> None:
        """Start to measure an attempt; `rows`, `steps`: what a resumed one has done already."""
        if steps:
            self.log(f"{attempt.name}: resumed after step {steps}")
        self.attempt, self.rows, self._steps, self._started = attempt, list(rows), steps, time.monotonic()
        history = self.run.journal.history()
        self._before = max((row["step"] for row in history if row["round"] < attempt.round), default=0)
        self._board = Board(self.run.root / layout.tensorboard(attempt.round, attempt.attempt))

    def epoch_ended(self, row: dict[str, Any]) -> None:
        """Log an epoch with the time left, and update TensorBoard and the curves."""
        attempt, seconds = self.attempt, time.monotonic() - self._started
        left = seconds / (row["steps"] - self._steps) * (attempt.steps - row["steps"])
        loss = "NaN" if row["loss"] is None else f"{row['loss']:.4f}"
        waited = row["waited"] / max(row["seconds"], 1e-9)
        data = f", {waited:.0%} of the epoch waiting for data" if waited > WAITING_SHARE else ""
        epoch = f"epoch {row['epoch'] + 1}/{len(attempt.samples)}"
        self.log(f"{attempt.name}: {epoch}  loss {loss}  {seconds:.0f} s, about {left:.0f} s left{data}")
        self.rows.append(row)
        values = {name: value for name, value in row.items() if name not in ("epoch", "steps")}
        self._board.scalars(self._before + row["steps"], values)
        if time.monotonic() - self._drawn > REDRAW_SECONDS:
            self.draw_curves(AttemptTrained(**attempt.place, steps=row["steps"], history=self.rows))

    def attempt_validated(self, validation: Validation, worst: Sequence[Example]) -> None:
        """Add the scores and the `worst` cases to TensorBoard, and close the attempt's log."""
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
