"""The rounds (paper, Figure 2): trained until `patience` of them bring no improvement, or all are played.

What the run's journal holds already is not trained again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from data_prep.cache.manifest import CacheEntry, Manifest
from data_prep.files.checksums import sha256_of
from data_prep.origin import UNSTATED, Origin
from kidney_seg.config.run_config import Config
from kidney_seg.model.logit_adjustment import with_class_odds
from kidney_seg.model.model_file import save_model
from kidney_seg.pipeline.slice_store import SliceStore
from kidney_seg.progressive.acceptance import end_round, needs_another
from kidney_seg.progressive.observer import RoundObserver
from kidney_seg.progressive.planning import Attempt, plan_attempt
from kidney_seg.progressive.pretrained import load_pretrained
from kidney_seg.progressive.validation import validate_round
from kidney_seg.progressive.verdict import NAN
from kidney_seg.run import layout
from kidney_seg.run.folder import RunFolder
from kidney_seg.run.journal import AttemptTrained, ModelWritten, RoundPlayed
from kidney_seg.run.recipe import is_whole
from kidney_seg.training.progress import Progress
from kidney_seg.training.stop_request import Stopped, StopRequest
from kidney_seg.training.trainer import Trainer, keep_trainer, take_trainer

if TYPE_CHECKING:
    from kidney_seg.training.process_group import ProcessGroup

WORST_CASES = 3  # shown per attempt


@dataclass(frozen=True)
class RunContext:
    """A run: folder, settings, seed, patients by set (`split`), and their cache (`manifest`).

    `group`: the processes that train together, led by this one. `origin`: of what the model was trained on.
    """

    run: RunFolder
    config: Config
    seed: int
    split: Mapping[str, Sequence[str]]
    manifest: Manifest
    stop: StopRequest = field(default_factory=StopRequest)
    group: ProcessGroup | None = None
    origin: Origin = UNSTATED

    def entries(self, part: str) -> list[CacheEntry]:
        """Return the labelled cases of the patients of a set."""
        patients = set(self.split[part])
        return [entry for entry in self.manifest.entries if entry.labelled and entry.patient in patients]


class Rounds:
    """The rounds of one run; `observer` hears of every step."""

    def __init__(self, context: RunContext, observer: RoundObserver):
        self.context, self.observer = context, observer
        self.validation_cases = context.entries(context.config.rounds.stop_on)

    @cached_property
    def trainer(self) -> Trainer:
        """The network; made for the first round that is not played yet."""
        context, group = self.context, self.context.group
        if group is None:
            return take_trainer(context.config)
        with group.together(context.stop):  # making it takes collectives
            group.share(patients=context.split["train"])
            return Trainer(context.config, group)

    @cached_property
    def store(self) -> SliceStore:
        """The training patients' slices."""
        context, config = self.context, self.context.config
        return SliceStore(context.manifest, context.entries("train"), config.data.memory_gb, config.model.input_slices)

    def play(self) -> RoundPlayed:
        """Train until nothing improves; returns the best round.

        paper: "The training loop would continue, till there was no performance improvement".
        """
        context, rounds, log = self.context, self.context.config.rounds, self.observer.log
        context.run.take_back_damaged(rounds.warm_start, log)
        best = last = self._play_round(0, None, None)
        without = 0
        for number in range(1, 1 if best.trouble == NAN else rounds.later_rounds()[0] + 1):  # NaN stays NaN
            last = self._play_round(number, best, last)
            best, without = (last, 0) if last.accepted else (best, without + 1)
            if without >= rounds.patience:
                break
        reason = f"{without} rounds without improvement" if without >= rounds.patience else "all rounds are played"
        reason = "no start has a finite loss" if best.trouble == NAN else reason
        log(f"training ends: {reason}; the best is round {best.round} (score {best.score:.3f})")
        model, written = context.run.root / layout.BEST_MODEL, context.run.journal.last(ModelWritten)
        if written is None or not is_whole(model, written.sha256):
            log(f"{model}: missing or damaged; written again from the weights of round {best.round}")
            self._save_best(best)
        if "trainer" in self.__dict__:  # made
            keep_trainer(self.__dict__.pop("trainer"))
        return best

    def _play_round(self, number: int, best: RoundPlayed | None, last: RoundPlayed | None) -> RoundPlayed:
        """Play a round, unless the journal holds it; `best`, `last`: of the rounds before, None in round 0."""
        journal, config = self.context.run.journal, self.context.config
        if (done := journal.last(RoundPlayed, round=number)) is not None:
            return done
        start = {"best": best, "last": last, "none": None}[config.rounds.warm_start]
        attempts: list[AttemptTrained] = []
        while needs_another(attempts, number, config):
            place = (number, len(attempts))
            done_before = journal.last(AttemptTrained, round=number, attempt=len(attempts))
            attempts.append(done_before or self._train(place, start))
        record = end_round(attempts, best, config.rounds.min_delta)
        if record.accepted:
            self._save_best(record)
        self.observer.round_played(journal.note(record), best)
        return record

    def _train(self, place: tuple[int, int], start: RoundPlayed | None) -> AttemptTrained:
        """Train, validate and record an attempt, from its newest checkpoint if it has one."""
        context, observer, run = self.context, self.observer, self.context.run
        attempt = plan_attempt(context.config, context.seed, self.store, context.split["train"], place, start)
        observer.attempt_planned(attempt)
        progress = self._resume(attempt)
        if progress is None:
            self._set_weights(attempt)
        observer.attempt_started(attempt, progress.rows if progress else (), progress.steps if progress else 0)

        def save(progress: Progress) -> None:
            run.checkpoints.save({**attempt.place, "progress": asdict(progress)}, self.trainer.state())

        more: dict[str, Any] = {"tick": observer.step_ended, "start": progress, "save": save, "stop": context.stop}
        try:
            rows = self.trainer.fit_round(self.store, attempt.samples, attempt.rate, observer.epoch_ended, **more)
        except Stopped as stopped:
            observer.close()
            raise Stopped(stopped.signal_number, f" in {attempt.name}, which is saved") from None
        with with_class_odds(self.trainer.model, context.config.prediction.odds):
            validation, worst = validate_round(
                self.trainer.predict, context.manifest, self.validation_cases, WORST_CASES
            )
        observer.attempt_validated(validation, worst)
        result = asdict(validation)
        if rows[-1]["loss"] is None:
            result["trouble"] = NAN
        record = AttemptTrained(
            **attempt.place,
            **result,
            **run.save_weights(self.trainer.model, *place),
            patients=attempt.patients,
            rate=attempt.rate,
            devices=self.trainer.devices.count,
            steps=rows[-1]["steps"],
            history=rows,
        )
        run.journal.note(record)
        run.checkpoints.clear()
        run.write_history(attempt.round)
        observer.attempt_trained(record)
        return record

    def _set_weights(self, attempt: Attempt) -> None:
        run, model = self.context.run, self.trainer.model
        if attempt.start is not None:
            run.load_weights(model, attempt.start)
        elif run.pretrained is not None:
            load_pretrained(model, run.pretrained)
        else:
            self.trainer.initialize(attempt.seed)

    def _resume(self, attempt: Attempt) -> Progress | None:
        """Restore the newest checkpoint if it is of this attempt; returns its progress."""
        found = self.context.run.checkpoints.newest(self.observer.log)
        if found is None or any(found[0][name] != value for name, value in attempt.place.items()):
            return None
        self.trainer.set_state(found[1])
        return Progress(**found[0]["progress"])

    def _save_best(self, record: RoundPlayed) -> None:
        """Write the model of a round's weights."""
        context, model = self.context, self.trainer.model
        context.run.load_weights(model, record)
        path = context.run.root / layout.BEST_MODEL
        with with_class_odds(model, context.config.prediction.odds):
            mark = {"trouble": record.trouble} if record.trouble else {}
            save_model(model, context.config, context.manifest.settings, path, context.origin, **mark)
        context.run.journal.note(ModelWritten(sha256_of(path)))
