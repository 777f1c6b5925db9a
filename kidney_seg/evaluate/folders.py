"""A folder of predictions against a folder of truths, case by case, in one process or several."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.cli import progress
from data_prep.datasets.kits import patient_of
from data_prep.datasets.label_files import find_label_files
from data_prep.errors import InputError
from data_prep.parallel.workers import Died, in_workers
from kidney_seg.evaluate.case_scores import score_case
from kidney_seg.postprocess.distant_objects import KIDNEY_ML, remove_distant_objects

if TYPE_CHECKING:
    from data_prep.geometry.volume import Volume
from collections.abc import Mapping

from kidney_seg.evaluate.score_files import write_scores


@dataclass
class Evaluation:
    """Scores by case, and what did not fit. Missing and unreadable predictions count as empty in `rows`."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # cases without a prediction
    unreadable: list[str] = field(default_factory=list)  # predictions; one line each, file and reason
    extra: list[str] = field(default_factory=list)  # predictions of no case to score; left out


@dataclass(frozen=True)
class Plan:
    """What is to be scored: `tasks` are arguments of `score_task`, by case; missing, extra: as of `Evaluation`."""

    tasks: list[tuple]
    missing: list[str]
    extra: list[str]

    def join(self, scored: Sequence[Scored]) -> Evaluation:
        """Return the evaluation, given what every task gave, in the tasks' order."""
        return Evaluation(
            rows=[result.row for result in scored if result.row is not None],
            missing=self.missing,
            unreadable=[result.unreadable for result in scored if result.unreadable is not None],
            extra=self.extra,
        )


@dataclass(frozen=True)
class Scored:
    """What one case gave: its row, and why its prediction could not be read; or why it could not be scored.

    kept: it was not scored now, but had been before (`score_parts`).
    """

    row: dict[str, Any] | None = None
    unreadable: str | None = None
    error: str | None = None
    kept: bool = False


def score_folders(
    predictions: str | Path,
    truth: str | Path,
    *,
    patients: Collection[str] | None = None,
    distance_mm: float | None = None,
    kidney_ml: float = KIDNEY_ML,
    jobs: int = 1,
) -> Evaluation:
    """Score the predictions, as the files are, of every case with true labels, or only of `patients`.

    With `distance_mm` the rows also hold the scores after `postprocess.remove_distant_objects`. A missing or
    unreadable prediction counts as empty, as on the challenge's server, and is listed; so is one without a
    truth, which is left out. `jobs` processes share the cases; the result is the same for any number.
    InputError where truth and prediction lie on different grids, a truth cannot be read, one of `patients` has no
    truth, no prediction is of a case to score, and where a process dies under its case.
    """
    if jobs < 1:
        raise InputError(f"jobs {jobs}: expected 1 or more")
    plan = plan_scores(predictions, truth, patients=patients, distance_mm=distance_mm, kidney_ml=kidney_ml)
    scored: dict[int, Scored] = {}
    with closing(in_processes(score_task, plan.tasks, jobs)) as results:
        for index, result in progress(results, "scoring", total=len(plan.tasks)):
            if result.error is not None:
                raise InputError(result.error)
            scored[index] = result
    return plan.join([scored[index] for index in range(len(plan.tasks))])


def plan_scores(
    predictions: str | Path,
    truth: str | Path,
    *,
    patients: Collection[str] | None = None,
    distance_mm: float | None = None,
    kidney_ml: float = KIDNEY_ML,
) -> Plan:
    """Return what `score_folders` scores; arguments and InputError as there."""
    files, truths = find_label_files(predictions), find_label_files(truth)
    if Path(predictions).is_file() and len(truths) == 1:  # one file against one: their names need not agree
        files = dict(zip(truths, files.values(), strict=True))
    if patients is not None:
        truths = _only(truths, set(patients), truth)
    if not set(files) & set(truths):
        raise InputError(
            f"{predictions}: none of {len(files)} predictions ({_some(files)}) is of a case to score "
            f"({_some(truths)}); expected the same names in both"
        )
    return Plan(
        tasks=[(name, path, files.get(name), distance_mm, kidney_ml) for name, path in truths.items()],
        missing=[name for name in truths if name not in files],
        extra=[name for name in files if name not in truths],
    )


def in_processes(function: Callable[..., Scored], tasks: Sequence[tuple], jobs: int) -> Generator[tuple[int, Scored]]:
    """Call `function(*task)`, the task's first item the case's name, in `jobs` processes; 1: in this one.

    Yields (index of the task, result) as they finish; a process that dies is its case's error.
    """
    if jobs == 1:
        yield from ((index, function(*task)) for index, task in enumerate(tasks))
        return
    with closing(in_workers(function, tasks, jobs)) as results:
        for index, result in results:
            if isinstance(result, Died):
                result = Scored(
                    error=f"{tasks[index][0]}: the process that scored it {result}, mostly for lack of memory; "
                    "run again with fewer --jobs"
                )
            yield index, result


def score_task(
    name: str, truth_path: Path, predicted_path: Path | None, distance_mm: float | None, kidney_ml: float
) -> Scored:
    """Score one case; arguments as of `score_folders`, by case. Never raises InputError: it is part of the result."""
    from data_prep.volume import read_labels

    unreadable = None
    try:
        true = read_labels(truth_path)
        predicted = np.zeros_like(true.voxels)
        if predicted_path is not None:
            try:
                found = read_labels(predicted_path)
            except InputError as error:
                unreadable = str(error)
            else:
                _check_grid(found, true)
                predicted = found.voxels
    except InputError as error:  # said by the process that waits for this one
        return Scored(error=str(error))
    cleaned = None
    if distance_mm is not None:
        cleaned = remove_distant_objects(predicted, true.spacing_mm, distance_mm, kidney_ml)
    return Scored(score_case(name, true.voxels, predicted, true.spacing_mm, cleaned), unreadable)


def _only(truths: dict[str, Path], patients: set[str], where: str | Path) -> dict[str, Path]:
    absent = patients - {patient_of(name) for name in truths}
    if absent:
        raise InputError(
            f"{where}: has no labels of {len(absent)} of {len(patients)} patients to score "
            f"({_some(sorted(absent))}); expected the folder that the cache was built from"
        )
    return {name: path for name, path in truths.items() if patient_of(name) in patients}


def _check_grid(found: Volume, true: Volume) -> None:
    from data_prep.geometry.source_grid import same_grid

    mine, theirs = found.source.axial, true.source.axial  # a DICOM SEG has other axes than a KiTS file
    if same_grid(theirs, mine):
        return
    differences = ", ".join(
        f"{key} {_numbers(getattr(mine, key))} instead of {_numbers(getattr(theirs, key))}"
        for key in ("size", "spacing", "origin", "direction")
        if getattr(mine, key) != getattr(theirs, key)
    )
    raise InputError(
        f"{found.path}: lies on another grid than its truth {true.path}: {differences}; "
        "expected labels on the grid of the case's own files"
    )


def _numbers(values: Collection[float]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"


def _some(names: Collection[str]) -> str:
    return ", ".join(list(names)[:3]) + (", ..." if len(names) > 3 else "")


def evaluate_folders(
    predictions: str | Path,
    truth: str | Path,
    out: str | Path | None = None,
    *,
    force: bool = False,
    **options: Any,
) -> Evaluation:
    """Score (see `score_folders` for `options`) and write `cases.csv` and `scores.json` into `out`, a folder.

    `out` is `evaluation` in (or, for one file, beside) `predictions` where it is not given.
    """
    result = score_folders(predictions, truth, **options)
    write_scores(result.rows, out or default_out(predictions), details(result, options), force)
    return result


def default_out(predictions: str | Path) -> Path:
    predictions = Path(predictions)
    return (predictions.parent if predictions.is_file() else predictions) / "evaluation"


def details(result: Evaluation, options: Mapping[str, Any]) -> dict[str, Any]:
    rule = None
    if options.get("distance_mm") is not None:
        rule = {"distance_mm": options["distance_mm"], "kidney_ml": options.get("kidney_ml", KIDNEY_ML)}
    kept = {"missing": result.missing, "unreadable": result.unreadable, "extra": result.extra}
    return {
        "protocol": "Table 1 by KiTS19: kidney is label > 0, tumor label > 1, cysts are kidney",
        "rule": rule,
        **kept,
    }
