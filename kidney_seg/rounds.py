"""The rounds of progressive training (paper, Figure 2): what the run's journal does not hold yet is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property

from data_prep.cache import Manifest
from kidney_seg import figures
from kidney_seg.config import Config
from kidney_seg.modelfile import save_model
from kidney_seg.pipeline import SliceStore, draw_patients, draw_samples
from kidney_seg.run import RunFolder
from kidney_seg.selection import judge
from kidney_seg.training import Trainer

EPOCHS = 5  # reports a round, at most: its steps are shared out over so many epochs


class Rounds:
    """The rounds of one run, on the patients of `split` (lists by set). `say` gets a line for each piece of news."""

    def __init__(
        self,
        run: RunFolder,
        manifest: Manifest,
        split: Mapping[str, Sequence[str]],
        config: Config,
        seed: int,
        say: Callable[[str], None],
    ):
        self.run, self.manifest, self.config, self.seed, self.say = run, manifest, config, seed, say
        self.patients = split["train"]
        judges = set(split[config.rounds.stop_on])
        self.judges = [entry for entry in manifest.entries if entry.labelled and entry.patient in judges]

    @cached_property
    def trainer(self) -> Trainer:
        """The network; made when the first round needs it, not when all rounds are done already."""
        return Trainer(self.config)

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
        best = last = None
        without = 0
        for number in range(rounds.max_rounds + 1):
            last = self.run.find("round", round=number) or self._play_round(number, best, last)
            best, without = (last, 0) if last["accepted"] else (best, without + 1)
            if without >= rounds.patience:
                break
        reason = f"{without} rounds without improvement" if without >= rounds.patience else "all rounds are played"
        self.say(f"training ends: {reason}; the best is round {best['round']} (score {best['score']:.3f})")
        return best

    def _play_round(self, number: int, best: dict | None, last: dict | None) -> dict:
        """Play a round: several starts in round 0, then one attempt; more, at half the rate, where it collapses."""
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
            save_model(self.trainer.model, self.config, self.manifest.settings, self.run.root / "best.keras")
        kept = ("attempt", "kidney", "tumor", "score", "trouble", "steps", "weights", "sha256")
        record = self.run.note("round", round=number, accepted=accepted, **{name: chosen[name] for name in kept})
        self._draw()
        verdict = "accepted" if accepted else f"rejected, no improvement on {best['score']:.3f}"
        self.say(f"round {number}: score {record['score']:.3f}, {verdict}")
        return record

    def _attempt(self, number: int, attempt: int, best: dict | None, last: dict | None) -> dict:
        """Train once: from new weights on all patients (a start of round 0), or from earlier ones on a fresh draw."""
        rounds = self.config.rounds
        rate = rounds.peak_rate * rounds.rate_decay**number
        if number == 0:
            name = f"round 0, start {attempt + 1}"
            steps, share = rounds.start_steps, 1.0
            self.trainer.initialize(1000 * self.seed + attempt)
        else:
            name = f"round {number}" + (f", attempt {attempt + 1}" if attempt else "")
            steps, share = rounds.steps, rounds.patient_share
            rate *= 0.5**attempt
            self.run.load_weights(self.trainer.model, best if rounds.warm_start == "best" else last)
        patients = draw_patients(self.patients, share, self.seed, number, attempt)
        batch = self.config.data.batch_size
        self.say(f"{name}: {steps} steps of {batch} slices of {len(patients)} patients, rate {rate:.2g}")
        epochs = max(count for count in range(1, EPOCHS + 1) if steps % count == 0)
        samples = [
            draw_samples(self.store, patients, steps // epochs, self.config, self.seed, number, attempt, epoch)
            for epoch in range(epochs)
        ]
        begun = time.monotonic()

        def report(row: dict) -> None:
            passed = time.monotonic() - begun
            left = passed / (row["epoch"] + 1) * (epochs - row["epoch"] - 1)
            place = f"{name}: epoch {row['epoch'] + 1}/{epochs}"
            loss = "not a number" if row["loss"] is None else f"{row['loss']:.4f}"
            self.say(f"{place}  loss {loss}  {passed:.0f} s, about {left:.0f} s left")

        rows = self.trainer.fit_round(self.store, samples, rate, report)
        judged = judge(self.trainer.predict, self.manifest, self.judges)
        result = asdict(judged)
        if rows[-1]["loss"] is None:
            result["trouble"] = "the loss is not a number"
        result |= self.run.save_weights(self.trainer.model, number, attempt)
        result |= {"patients": patients, "rate": rate, "steps": rows[-1]["steps"], "history": rows}
        seconds = round(time.monotonic() - begun, 1)
        record = self.run.note("attempt", round=number, attempt=attempt, seconds=seconds, **result)
        self.run.write_history(number)
        self.say(f"{name}: {self._scores(record)}")
        return record

    def _scores(self, record: dict) -> str:
        dice = ", ".join(f"{name} {record[name]:.3f}" for name in ("kidney", "tumor") if record[name] is not None)
        whose = f"{len(self.judges)} {self.config.rounds.stop_on} cases"
        trouble = f"; trouble: {record['trouble']}" if record["trouble"] else ""
        return f"score {record['score']:.3f} (Dice of {whose}: {dice}){trouble}"

    def _draw(self) -> None:
        """Redraw `progress.png` from the journal and the histories."""
        history = self.run.history()
        ends = {row["round"]: row["step"] for row in history}
        played = [{**event, "step": ends[event["round"]]} for event in self.run.events if event["event"] == "round"]
        figures.save(figures.learning_curves(history, played), self.run.root / "progress.png")
