"""The journal of a finished training: a small JSON file with all that the tables are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.paper_on_kits.arms import ARMS
from benchmarks.real_slices.arms import Arm
from benchmarks.real_slices.training import scores_file
from benchmarks.support.machine import describe
from data_prep.errors import InputError
from data_prep.files.json_files import read_json, write_json
from data_prep.files.typed import typed
from kidney_seg.evaluate.case_scores import POSTPROCESSED
from kidney_seg.evaluate.paired import where_present
from kidney_seg.hardware import threads
from kidney_seg.metrics.statistics import by_patient
from kidney_seg.run import layout
from kidney_seg.run.journal import AttemptTrained, RoundPlayed
from kidney_seg.run.journal import Journal as RunJournal
from kidney_seg.run.recipe import read_manifest

SCHEMA = 1
DIGITS = 4
STRUCTURES = ("kidney", "tumor")
SCORES = tuple(prefix + name for prefix in ("", POSTPROCESSED) for name in STRUCTURES)


@dataclass(frozen=True)
class Plan:
    """What a training was asked for, which names it: two journals of one plan are the same training.

    steps: wanted, of all rounds; settings: over the preset `paper`, `extra` ones of the command among them.
    """

    arm: str
    fold: int
    seed: int
    steps: int
    settings: tuple[str, ...]
    size: int
    pixel_mm: float
    patients: int | None
    simulated: str
    extra: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """Name of the journal's file."""
        return f"{self.arm}-fold{self.fold}-seed{self.seed}-{self.steps}steps.json"


@dataclass(frozen=True)
class Journal:
    """A finished training. `against`: the arm that it is compared with.

    steps, seconds: of its training steps, as they were done. teacher_steps, teacher_seconds: of the training that made
    its initial weights, 0 without one. trained_on: number of training patients, simulated ones among them. processor,
    threads, versions: at its end. data_sha256, split_sha256: of the cache and of the split file. trouble: of its best
    round, None if it is sound. rounds: the score of each by validation patients and whether it was accepted. dice: by
    test patient, the mean over its volumes of each of SCORES, None where the truth lacks the structure.
    """

    plan: Plan
    why: str
    group: str
    against: str
    steps: int
    seconds: float
    teacher_steps: int
    teacher_seconds: float
    trained_on: int
    processor: str
    threads: int
    versions: dict[str, str]
    data_sha256: str
    split_sha256: str
    trouble: str | None
    rounds: list[dict[str, Any]]
    dice: dict[str, tuple[float | None, ...]]

    def score(self, name: str) -> dict[str, float]:
        """Return one of SCORES by patient, without those that have none."""
        place = SCORES.index(name)
        return {patient: own[place] for patient, own in self.dice.items() if own[place] is not None}


def plan_of(arm: Arm, fold: int, seed: int, steps: int, extra: Sequence[str]) -> Plan:
    """Return the plan of an arm of `make_arm`."""
    change = ARMS[arm.name]
    assert arm.grid.pixel_mm is not None
    whole = (arm.settings, arm.grid.size, arm.grid.pixel_mm, change.patients, change.simulated)
    return Plan(arm.name, fold, seed, steps, *whole, tuple(extra))


def is_done(plan: Plan, folder: Path) -> bool:
    """Return whether a folder holds the journal of a plan. InputError if its file is of another plan."""
    path = folder / plan.file
    if not path.exists():
        return False
    found = read_journal(path).plan
    if found == plan:
        return True
    pairs = zip(vars(found).items(), vars(plan).values(), strict=True)
    differing = "; ".join(f"{name}: {old} -> {new}" for (name, old), new in pairs if old != new)
    raise InputError(f"is of other settings ({differing}); remove it, or choose another --journals", path=path)


def write_journal(plan: Plan, run: Path, teacher: Path | None, folder: Path) -> Journal:
    """Write the journal of a finished run into `folder`, and return it. teacher: the run of its initial weights."""
    change = ARMS[plan.arm]
    events, manifest = RunJournal(run), read_manifest(run / layout.MANIFEST)
    played = events.all_of(RoundPlayed)
    best = [one for one in played if one.accepted][-1]
    steps, seconds = _work(events)
    taught, teaching = _work(RunJournal(teacher)) if teacher else (0, 0.0)
    rows = read_json(scores_file(run), "scores")["cases"]
    means = {name: by_patient(where_present(rows, f"{name}_dice"), f"{name}_dice") for name in SCORES}
    patients = sorted({row["patient"] for row in rows})
    journal = Journal(
        plan,
        change.why,
        change.group,
        change.against if plan.arm != change.against else "",
        steps,
        seconds,
        taught,
        teaching,
        len({name for one in events.all_of(AttemptTrained, round=0) for name in one.patients}),
        describe()["processor"],
        threads(),
        {name: version for name, version in manifest["versions"].items() if name in ("tensorflow", "keras")},
        manifest["data_sha256"],
        manifest["split_sha256"],
        best.trouble,
        [{"score": round(one.score, DIGITS), "accepted": one.accepted, "trouble": one.trouble} for one in played],
        {patient: tuple(_rounded(means[name].get(patient)) for name in SCORES) for patient in patients},
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / plan.file, {"schema": SCHEMA, **asdict(journal)})
    return journal


def _work(events: RunJournal) -> tuple[int, float]:
    """Return the steps and the seconds of all of a run's training steps."""
    attempts = events.all_of(AttemptTrained)
    seconds = sum(float(row["seconds"] or 0) for one in attempts for row in one.history)
    return sum(one.steps for one in attempts), round(seconds, 1)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def read_journal(path: Path) -> Journal:
    """Read a journal; InputError with its path for anything else."""
    content = read_json(path, "journal")
    try:
        if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}")
        journal = typed(Journal, content)
        if any(len(own) != len(SCORES) for own in journal.dice.values()):
            raise ValueError(f"dice: expected {len(SCORES)} numbers a patient")
    except ValueError as error:
        raise InputError(f"is no journal of this experiment ({error})", path=path) from None
    return journal


def read_journals(folder: str | Path) -> list[Journal]:
    """Read all journals of a folder, in the order of the arms, folds and seeds. InputError if there is none."""
    paths = sorted(Path(folder).glob("*.json"))
    if not paths:
        raise InputError("found no journal; expected the folder --journals of a finished training", path=folder)
    order = {name: place for place, name in enumerate(ARMS)}

    def place(one: Journal) -> tuple[int, int, int, int]:
        return order.get(one.plan.arm, len(order)), one.plan.steps, one.plan.fold, one.plan.seed

    return sorted(map(read_journal, paths), key=place)
