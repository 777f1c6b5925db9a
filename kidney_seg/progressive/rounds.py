"""The rounds of progressive training (paper, Figure 2): what the run's journal does not hold yet is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.cache.manifest import Manifest
from data_prep.files.checksums import sha256_of
from kidney_seg.config.run_config import Config
from kidney_seg.figures.overlays import overlay_grid
from kidney_seg.figures.style import save as save_figure
from kidney_seg.figures.training_curves import learning_curves
from kidney_seg.model.logit_adjustment import with_class_odds
from kidney_seg.model.model_file import save_model
from kidney_seg.pipeline.sampling import draw_patients, draw_samples
from kidney_seg.pipeline.slice_store import SliceStore
from kidney_seg.progressive.judging import judge, worst_cases
from kidney_seg.progressive.pretrained import load_pretrained
from kidney_seg.run.folder import RunFolder
from kidney_seg.run.journal import rounds_of
from kidney_seg.training.messages import hello_message
from kidney_seg.training.progress import Progress
from kidney_seg.training.stop_request import Stopped, StopRequest
from kidney_seg.training.tensorboard import Board
from kidney_seg.training.trainer import Trainer

if TYPE_CHECKING:
    from kidney_seg.training.process_group import Group

EPOCHS = 5  # reports a round, at most: its steps are shared out over so many epochs
REDRAW_SECONDS = 10.0  # `progress.png` is drawn after every epoch, but not more often
PICTURES = 3  # of the worst cases of every attempt
WORTH_SAYING = 0.03  # share of an epoch spent waiting for data that is mentioned


class Rounds:
    """The rounds of one run, on the patients of `split` (lists by set). `say` gets a line for each piece of news.

    `group`: the processes that train along; this one leads them. `pretrained`: the `.keras` file whose weights every
    start of round 0 begins with, instead of random ones.
    """

    def __init__(
        self,
        run: RunFolder,
        manifest: Manifest,
        split: Mapping[str, Sequence[str]],
        config: Config,
        seed: int,
        say: Callable[[str], None],
        stop: StopRequest | None = None,
        group: Group | None = None,
        pretrained: Path | None = None,
    ):
        self.group, self.pretrained = group, pretrained
        self.run, self.manifest, self.config, self.seed, self.say = run, manifest, config, seed, say
        self.stop = stop or StopRequest()
        self._drawn = 0.0
        self.patients = split["train"]
        judges = set(split[config.rounds.stop_on])
        self.judges = [entry for entry in manifest.entries if entry.labelled and entry.patient in judges]

    @cached_property
    def trainer(self) -> Trainer:
        """The network; made when the first round needs it, not when all rounds are done already."""
        if self.group is not None:
            self.group.send(hello_message(self.config, self.manifest.data_sha256, self.patients))
        return Trainer(self.config, self.group)

    @cached_property
    def store(self) -> SliceStore:
        """The training patients' slices."""
        own = set(self.patients)
        entries = [entry for entry in self.manifest.entries if entry.patient in own]
        return SliceStore(self.manifest, entries, self.config.data.memory_gb, self.config.model.input_slices)

    def play(self) -> dict:
        """Train until nothing improves; returns the journal's record of the best round.

        paper: "The training loop would continue, till there was no performance improvement".
        """
        rounds = self.config.rounds
        self.run.take_back_damaged(rounds.warm_start, self.say)
        best = last = self._play_round(0, None, None)
        without = 0
        for number in range(1, rounds.later_rounds()[0] + 1):
            last = self._play_round(number, best, last)
            best, without = (last, 0) if last["accepted"] else (best, without + 1)
            if without >= rounds.patience:
                break
        reason = f"{without} rounds without improvement" if without >= rounds.patience else "all rounds are played"
        self.say(f"training ends: {reason}; the best is round {best['round']} (score {best['score']:.3f})")
        model = self.run.root / "best.keras"
        noted = self.run.find("model")
        if noted is None or not model.is_file() or sha256_of(model) != noted["sha256"]:
            self.say(f"{model}: missing or damaged; it is written anew from the weights of round {best['round']}")
            self.run.load_weights(self.trainer.model, best)
            self._save_best()
        return best

    def _play_round(self, number: int, best: dict | None, last: dict | None) -> dict:
        """Play a round: several starts in round 0, then one attempt; more, at half the rate, where it collapses.

        A round that the journal holds is not played again. best, last: the records of earlier rounds, None in round 0.
        """
        if (done := self.run.find("round", round=number)) is not None:
            return done
        rounds = self.config.rounds
        wanted = rounds.starts if number == 0 else 1
        attempts: list[dict] = []
        for attempt in range(wanted + rounds.retries):
            done = self.run.find("attempt", round=number, attempt=attempt)
            attempts.append(done or self._attempt(number, attempt, best, last))
            if len(attempts) >= wanted and not all(entry["trouble"] for entry in attempts):
                break
        chosen = max(attempts, key=lambda entry: (not entry["trouble"], entry["score"]))
        accepted = best is None or (not chosen["trouble"] and chosen["score"] > best["score"] + rounds.min_delta)
        if accepted:
            self.run.load_weights(self.trainer.model, chosen)
            self._save_best()
        kept = ("attempt", "kidney", "tumor", "score", "trouble", "steps", "weights", "sha256")
        record = self.run.note("round", round=number, accepted=accepted, **{name: chosen[name] for name in kept})
        self._draw()
        verdict = "accepted" if best is None or accepted else f"rejected, no improvement on {best['score']:.3f}"
        self.say(f"round {number}: score {record['score']:.3f}, {verdict}")
        return record

    def _attempt(self, number: int, attempt: int, best: dict | None, last: dict | None) -> dict:
        """Train once: a start of round 0, on all patients, or from earlier weights on a fresh draw."""
        rounds = self.config.rounds
        rate = rounds.peak_rate * rounds.rate_decay**number
        if number == 0:
            name = f"round 0, start {attempt + 1}"
            steps, share = rounds.start_steps, 1.0
        else:
            name = f"round {number}" + (f", attempt {attempt + 1}" if attempt else "")
            _, steps, share = rounds.later_rounds()
            rate *= 0.5**attempt
        patients = draw_patients(self.patients, share, self.seed, number, attempt)
        batch = self.config.data.batch_size
        given = ", from pretrained weights" if number == 0 and self.pretrained is not None else ""
        self.say(f"{name}: {steps} steps of {batch} slices of {len(patients)} patients, rate {rate:.2g}{given}")
        most = EPOCHS * max(1, steps // rounds.steps)
        epochs = max(count for count in range(1, most + 1) if steps % count == 0)
        samples = [
            draw_samples(self.store, patients, steps // epochs, self.config, self.seed, number, attempt, epoch)
            for epoch in range(epochs)
        ]
        place = {"round": number, "attempt": attempt}
        earlier = best if rounds.warm_start == "best" else last
        progress = self._resume(place)
        if progress is not None:
            self.say(f"{name}: goes on after step {progress.steps}")
        elif earlier is not None:
            self.run.load_weights(self.trainer.model, earlier)
        elif self.pretrained is not None:  # in round 0, as below
            load_pretrained(self.trainer.model, self.pretrained)
        else:
            self.trainer.initialize(1000 * self.seed + attempt)
        begun, at_begin = time.monotonic(), progress.steps if progress else 0
        running = list(progress.rows) if progress else []

        board = Board(self.run.root / "logs" / f"round{number:02d}-attempt{attempt + 1}")
        before = self._steps_before(number)

        def report(row: dict) -> None:
            passed = time.monotonic() - begun
            left = passed / (row["steps"] - at_begin) * (steps - row["steps"])
            loss = "not a number" if row["loss"] is None else f"{row['loss']:.4f}"
            waited = row["waited"] / max(row["seconds"], 1e-9)
            data = f", {waited:.0%} of the epoch waiting for data" if waited > WORTH_SAYING else ""
            told = f"{name}: epoch {row['epoch'] + 1}/{epochs}  loss {loss}"
            self.say(f"{told}  {passed:.0f} s, about {left:.0f} s left{data}")
            running.append(row)
            board.scalars(before + row["steps"], {name: row[name] for name in row if name not in ("epoch", "steps")})
            if time.monotonic() - self._drawn > REDRAW_SECONDS:
                self._draw({**place, "steps": row["steps"], "history": running})

        def save(progress: Progress) -> None:
            self.run.checkpoints.save({**place, "progress": asdict(progress)}, self.trainer.state())

        try:
            rows = self.trainer.fit_round(self.store, samples, rate, report, start=progress, save=save, stop=self.stop)
        except Stopped as stopped:
            raise Stopped(stopped.signal_number, f" in {name}, which is saved") from None
        with with_class_odds(self.trainer.model, self.config.prediction.odds):
            judged = judge(self.trainer.predict, self.manifest, self.judges)
            worst = worst_cases(judged, self.trainer.predict, self.manifest, self.judges, PICTURES)
        at_end = before + rows[-1]["steps"]
        board.scalars(at_end, {"Dice kidney": judged.kidney, "Dice tumor": judged.tumor, "score": judged.score})
        if worst:
            picture = overlay_grid(worst, self.config.model.hu_window)
            board.picture(
                at_end, "worst cases", save_figure(picture, self.run.round_folder(number) / f"worst{attempt}.png")
            )
        board.close()
        result = asdict(judged)
        if rows[-1]["loss"] is None:
            result["trouble"] = "the loss is not a number"
        result |= self.run.save_weights(self.trainer.model, number, attempt)
        devices = self.trainer.devices.count
        result |= {"patients": patients, "rate": rate, "devices": devices, "steps": rows[-1]["steps"], "history": rows}
        record = self.run.note("attempt", **place, **result)
        self.run.checkpoints.clear()
        self.run.write_history(number)
        self.say(f"{name}: {self._scores(record)}")
        return record

    def _steps_before(self, number: int) -> int:
        """Return the run's steps up to a round, as its curves count them."""
        return max((row["step"] for row in self.run.history() if row["round"] < number), default=0)

    def _resume(self, place: dict[str, int]) -> Progress | None:
        """Put the newest checkpoint back into the trainer if it is of this place; say how far it is."""
        found = self.run.checkpoints.newest(self.say)
        if found is None or any(found[0][name] != value for name, value in place.items()):
            return None
        self.trainer.set_state(found[1])
        return Progress(**found[0]["progress"])

    def _save_best(self) -> None:
        path = self.run.root / "best.keras"
        with with_class_odds(self.trainer.model, self.config.prediction.odds) as model:
            save_model(model, self.config, self.manifest.settings, path)
        self.run.note("model", sha256=sha256_of(path))

    def _scores(self, record: dict) -> str:
        dice = ", ".join(f"{name} {record[name]:.3f}" for name in ("kidney", "tumor") if record[name] is not None)
        whose = f"{len(self.judges)} {self.config.rounds.stop_on} cases"
        trouble = f"; trouble: {record['trouble']}" if record["trouble"] else ""
        return f"score {record['score']:.3f} (Dice of {whose}: {dice}){trouble}"

    def _draw(self, running: dict | None = None) -> None:
        """Redraw `progress.png` from the journal and the attempt that is running."""
        history = self.run.history(running=running)
        played = rounds_of(self.run.events, history)
        save_figure(learning_curves(history, played), self.run.root / "progress.png")
        self._drawn = time.monotonic()
