"""Score a folder of predictions against a folder of true labels: plan, score and join, at once or in parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.datasets.kits import patient_of
from data_prep.datasets.label_files import find_label_files
from data_prep.errors import InputError, of_memory_error
from data_prep.files.atomic import remove_leftovers
from data_prep.parallel.shards import PARTS, Shard
from data_prep.parallel.tasks import WorkerDied, check_jobs, run
from kidney_seg.config.prediction import RuleSettings
from kidney_seg.evaluate.case_scores import score_case
from kidney_seg.evaluate.kept_scores import made_of, read_kept, write_kept
from kidney_seg.evaluate.label_pair import read_pair
from kidney_seg.evaluate.origin_of_scores import origins_of
from kidney_seg.evaluate.score_files import default_out, write_scores
from kidney_seg.postprocess.distant_objects import remove_distant_objects


@dataclass
class Evaluation:
    """Scores per case, and what did not match. Missing and unreadable predictions count as empty in `rows`."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # cases without a prediction
    unreadable: list[str] = field(default_factory=list)  # one line per prediction: file and reason
    extra: list[str] = field(default_factory=list)  # predictions without a case to score; left out
    notes: list[str] = field(default_factory=list)  # one line per decision of a reader or doubt about labels
    origins: dict[str, Any] = field(default_factory=dict)  # `origins_of`

    def details(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what `scores.json` holds besides the scores; `options` as for `score_folders`."""
        rule = RuleSettings.of(**{name: value for name, value in options.items() if name != "patients"})
        return {
            "protocol": "Table 1 by KiTS19: kidney is label > 0, tumor label > 1, cysts are kidney",
            "rule": rule and rule.to_record(),
            "missing": self.missing,
            "unreadable": self.unreadable,
            "extra": self.extra,
            "notes": self.notes,
            **self.origins,
        }


@dataclass(frozen=True)
class Parts:
    """Result of scoring a part of the cases: the evaluation of all, and how this part went."""

    evaluation: Evaluation | None  # None until all cases are scored
    failures: list[str]  # one line per case that cannot be scored
    unreadable: list[str]  # one line per prediction that counts as empty
    made: int  # cases scored now
    kept: int  # cases scored before


@dataclass(frozen=True)
class Task:
    """One case to score. predicted: None counts as empty; rule: None for no post-processing."""

    case: str
    truth: Path
    predicted: Path | None
    rule: RuleSettings | None
    file: Path | None = None  # keeps the scores, see `kept_scores`


@dataclass(frozen=True)
class Scored:
    """Result of a task: its row, or the error; why its prediction is unreadable; kept: read from its file.

    notes: of the readers.
    """

    row: dict[str, Any] | None = None
    unreadable: str | None = None
    error: InputError | None = None
    kept: bool = False
    notes: tuple[str, ...] = ()


Results = dict[Task, Scored]


def evaluate_folders(
    predictions: str | Path, truth: str | Path, out: str | Path | None = None, *, force: bool = False, **options: Any
) -> Evaluation:
    """Score predictions (`options` as for `score_folders`) and write `cases.csv` and `scores.json` into `out`.

    `out` is a folder (default: `evaluation` beside the label files); `force` replaces other scores in it.
    """
    result = score_folders(predictions, truth, **options)
    write_scores(result.rows, out or default_out(predictions), result.details(options), force)
    return result


def score_folders(predictions: str | Path, truth: str | Path, *, jobs: int = 1, **options: Any) -> Evaluation:
    """Score the prediction of every case with true labels.

    A missing or unreadable prediction counts as empty, as on the challenge's server.

    Args:
        predictions, truth: folder of label files, or one file.
        jobs: number of processes; the result is the same for any number.
        options: `patients`: whose cases to score (default: all); `distance_mm`, `kidney_ml`, `rule`, `tumor_mm`: also
            score after `postprocess.remove_distant_objects`, where `distance_mm` or `rule` is given.

    Raises:
        InputError: truth and prediction lie on different grids, a truth is unreadable, one of `patients` has none, no
            prediction belongs to a case to score, or a process died.
    """
    check_jobs(jobs)
    joined, tasks = plan_scores(predictions, truth, **options)
    return _join(joined, _run(score_task, tasks, "scoring", stop=True, jobs=jobs))


def score_parts(
    predictions: str | Path,
    truth: str | Path,
    out: str | Path,
    *,
    shard: Shard | None = None,
    scheduler: str | None = None,
    jobs: int = 1,
    **options: Any,
) -> Parts:
    """Score the cases of a shard, or all, keep each one's scores in `out`, and join all cases once all are scored.

    The joined evaluation, and the other arguments, are those of `score_folders`. Kept scores, which another process may
    have written, count only for the same bytes of truth and prediction, the same rule and version. An error costs only
    its case. `scheduler`: address of a Dask scheduler whose workers, with the same paths, score, not processes here.
    """
    check_jobs(jobs, scheduler)
    joined, tasks = plan_scores(predictions, truth, **options)
    folder = Path(out) / PARTS
    tasks = [replace(task, file=folder / f"{task.case}.json") for task in tasks]
    own = tasks if shard is None else shard.pick(tasks)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = _run(score_task, own, "scoring", jobs=jobs, scheduler=scheduler)
    finally:
        remove_leftovers(folder)  # of processes that died
    failures = [str(result.error) for result in found.values() if result.error is not None]
    kept = sum(result.kept for result in found.values())
    others = [task for task in tasks if task not in found]
    complete = not failures and all(task.file is not None and task.file.is_file() for task in others)
    of_others = _run(partial(score_task, only_kept=True), others, "joining", jobs=jobs) if complete and others else {}
    complete = complete and all(result.row is not None for result in of_others.values())
    return Parts(
        _join(joined, {task: (found | of_others)[task] for task in tasks}) if complete else None,
        failures,
        _unreadable(found),
        made=len(found) - kept - len(failures),
        kept=kept,
    )


def plan_scores(
    predictions: str | Path,
    truth: str | Path,
    *,
    patients: Collection[str] | None = None,
    **rule: Any,
) -> tuple[Evaluation, list[Task]]:
    """Return an evaluation without rows, and one task per case; arguments and errors as of `score_folders`."""
    files, truths = find_label_files(predictions), find_label_files(truth)
    if Path(predictions).is_file() and len(truths) == 1:  # one file against one: their names may differ
        files = dict(zip(truths, files.values(), strict=True))
    if patients is not None:
        absent = set(patients) - {patient_of(name) for name in truths}
        if absent:
            raise InputError(
                f"has no labels of {len(absent)} of {len(patients)} patients to score ({_some(sorted(absent))}); "
                "expected the folder that the cache was built from",
                path=truth,
            )
        truths = {name: path for name, path in truths.items() if patient_of(name) in patients}
    if not set(files) & set(truths):
        raise InputError(
            f"none of {len(files)} predictions ({_some(files)}) belongs to a case to score ({_some(truths)}); "
            "expected the same names in both",
            path=predictions,
        )
    missing, extra = ([name for name in one if name not in other] for one, other in ((truths, files), (files, truths)))
    tasks = [Task(name, path, files.get(name), RuleSettings.of(**rule)) for name, path in truths.items()]
    origins = origins_of(truths, [path for name, path in files.items() if name in truths])
    return Evaluation(missing=missing, extra=extra, origins=origins), tasks


def score_task(task: Task, only_kept: bool = False) -> Scored:
    """Score one case, or return what its file keeps (with `only_kept` nothing else). An InputError is returned."""
    try:
        if task.file is None:
            return _score(task)
        rule = None if task.rule is None else list(task.rule.to_record().values())
        key = made_of(task.case, task.truth, task.predicted, rule)
        if before := read_kept(task.file, key):
            return Scored(before[0], before[1], kept=True, notes=before[2])
        scored = Scored() if only_kept else _score(task)
    except InputError as error:
        return Scored(error=error)
    except MemoryError as error:
        return Scored(error=of_memory_error(error, task.truth))
    if scored.row is not None:
        write_kept(task.file, key, scored.row, scored.unreadable, scored.notes)
    return scored


def _score(task: Task) -> Scored:
    pair, cleaned = read_pair(task.truth, task.predicted), None
    if task.rule is not None:
        cleaned = remove_distant_objects(pair.predicted, pair.spacing_mm, **asdict(task.rule))
    row = score_case(task.case, pair.truth, pair.predicted, pair.spacing_mm, cleaned)
    return Scored(row, pair.unreadable, notes=pair.notes)


def _run(
    function: Callable[[Task], Scored], tasks: Sequence[Task], what: str, *, stop: bool = False, **how: Any
) -> Results:
    """Return the results of all tasks; `stop` raises the first error. `how`: jobs and scheduler."""
    found: Results = {}
    with run(function, tasks, what=what, **how) as results:
        for index, result in results:
            if isinstance(result, WorkerDied):
                kept = ": scored cases are kept" if tasks[index].file else ""
                result = Scored(error=InputError(f"{tasks[index].case}: {result}{kept}", code="worker_died"))
            if stop and result.error is not None:
                raise result.error
            found[tasks[index]] = result
    return {task: found[task] for task in tasks}


def _join(joined: Evaluation, scored: Results) -> Evaluation:
    rows = [result.row for result in scored.values() if result.row is not None]
    notes = [note for result in scored.values() for note in result.notes]
    return replace(joined, rows=rows, unreadable=_unreadable(scored), notes=notes)


def _unreadable(scored: Results) -> list[str]:
    return [f"{task.predicted}: {one.unreadable}" for task, one in scored.items() if one.unreadable is not None]


def _some(names: Collection[str]) -> str:
    return ", ".join(list(names)[:3]) + (", ..." if len(names) > 3 else "")
