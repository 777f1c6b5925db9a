"""Scores of a part of the cases, kept until all are there: for job arrays, and for the workers of a scheduler."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.cli import progress
from data_prep.errors import InputError
from data_prep.files.atomic import remove_leftovers
from data_prep.files.checksums import checked_sha256
from data_prep.files.json_files import read_json, write_json
from data_prep.parallel.dask_cluster import in_scheduler
from data_prep.parallel.shards import PARTS, Shard
from data_prep.parallel.workers import Died
from data_prep.version import code_version
from kidney_seg.evaluate.folders import Evaluation, Plan, Scored, in_processes, plan_scores, score_task
from kidney_seg.evaluate.score_files import SCHEMA, without_nan
from kidney_seg.postprocess.distant_objects import KIDNEY_ML


@dataclass(frozen=True)
class Parts:
    """What became of a part of the cases.

    evaluation: of all cases, or None where others are not scored yet. failures: one line for each case of this part
    that could not be scored; unreadable: for each prediction of it that counts as empty. made, kept: cases of this part
    that were scored now, and that had been before.
    """

    evaluation: Evaluation | None
    failures: list[str]
    unreadable: list[str]
    made: int
    kept: int


def score_parts(
    predictions: str | Path,
    truth: str | Path,
    out: str | Path,
    *,
    shard: Shard | None = None,
    scheduler: str | None = None,
    jobs: int = 1,
    patients: Collection[str] | None = None,
    distance_mm: float | None = None,
    kidney_ml: float = KIDNEY_ML,
) -> Parts:
    """Score the cases of `shard`, or all, and note each in the folder `out`; join all cases' where all are noted.

    The joined evaluation is that of `score_folders`, whose arguments these are. A note counts only for the same bytes
    of truth and prediction, the same rule and version: another process may have written it, at any time. `scheduler`:
    address of a Dask scheduler whose workers, with the same paths, score instead of `jobs` processes here. A case that
    cannot be scored does not stop the others. InputError as for `plan_scores`.
    """
    if jobs < 1 or (scheduler and jobs > 1):
        expected = "1 with a scheduler, whose workers do the work" if scheduler else "1 or more"
        raise InputError(f"jobs {jobs}: expected {expected}")
    plan = plan_scores(predictions, truth, patients=patients, distance_mm=distance_mm, kidney_ml=kidney_ml)
    notes = (Path(out) / PARTS).absolute()
    tasks = [_task(task, notes) for task in plan.tasks]
    own = list(range(len(tasks))) if shard is None else shard.pick(range(len(tasks)))
    workers = partial(in_processes, jobs=jobs) if scheduler is None else partial(_on_workers, address=scheduler)
    notes.mkdir(parents=True, exist_ok=True)
    try:
        found = _collect(workers, _score_noted, tasks, own, "scoring")
    finally:
        remove_leftovers(notes)  # of processes that died
    found = {index: _as_given(result, plan.tasks[index]) for index, result in found.items()}
    failures = [result.error for result in found.values() if result.error is not None]
    return Parts(
        None if failures else _join(plan, tasks, found, jobs),
        failures,
        [result.unreadable for result in found.values() if result.unreadable is not None],
        sum(not result.kept for result in found.values()) - len(failures),
        sum(result.kept for result in found.values()),
    )


def _task(task: tuple, notes: Path) -> tuple:
    # paths that hold on other hosts, too
    name, truth, predicted, *rule = task
    return name, truth.absolute(), predicted and predicted.absolute(), *rule, notes / f"{name}.json"


def _collect(
    workers: Callable[..., Generator[tuple[int, Any]]],
    function: Callable[..., Scored],
    tasks: Sequence[tuple],
    chosen: Sequence[int],
    what: str,
) -> dict[int, Scored]:
    found = {}
    with closing(workers(function, [tasks[index] for index in chosen])) as results:
        for place, result in progress(results, what, total=len(chosen)):
            found[chosen[place]] = result
    return dict(sorted(found.items()))


def _on_workers(function: Callable[..., Scored], tasks: Sequence[tuple], address: str) -> Generator[tuple[int, Scored]]:
    with closing(in_scheduler(function, tasks, address)) as results:
        for index, result in results:
            if isinstance(result, Died):
                result = Scored(error=f"{tasks[index][0]}: its task {result}; run again: scored cases are kept")
            yield index, result


def _join(plan: Plan, tasks: Sequence[tuple], own: dict[int, Scored], jobs: int) -> Evaluation | None:
    others = [index for index in range(len(tasks)) if index not in own]
    if not all(tasks[index][-1].is_file() for index in others):
        return None
    found = _collect(partial(in_processes, jobs=jobs), _read_noted, tasks, others, "joining") if others else {}
    if any(result.row is None for result in found.values()):
        return None
    given = {index: _as_given(result, plan.tasks[index]) for index, result in found.items()}
    return plan.join([(own | given)[index] for index in range(len(tasks))])


def _as_given(result: Scored, task: tuple) -> Scored:
    """Return a result whose messages name the files as the user did, not as the workers had to."""
    for path in task[1:3]:
        for key in ("error", "unreadable"):
            text = getattr(result, key)
            if path is not None and text is not None:
                result = replace(result, **{key: text.replace(str(path.absolute()), str(path))})
    return result


def _score_noted(*task: Any) -> Scored:
    """Score one case and note it, or return what is noted; the arguments of `score_task` and the note's path."""
    *given, note = task
    try:
        made_of = _made_of(*given)
    except InputError as error:
        return Scored(error=str(error))
    if (noted := _noted(note, made_of)) is not None:
        return noted
    scored = score_task(*given)
    if scored.error is None:
        content = {"row": without_nan(scored.row), "unreadable": scored.unreadable}
        write_json(note, {"made_of": made_of, **content})
    return scored


def _read_noted(*task: Any) -> Scored:
    """Return what is noted of one case, arguments as of `_score_noted`; without a row where nothing of use is."""
    *given, note = task
    try:
        return _noted(note, _made_of(*given)) or Scored()
    except InputError as error:
        return Scored(error=str(error))


def _noted(note: Path, made_of: str) -> Scored | None:
    try:
        content = read_json(note, "note of a case's scores")
    except InputError:  # none yet, or damaged: made anew
        return None
    if not isinstance(content, dict) or content.get("made_of") != made_of:
        return None
    return Scored(_with_nan(content["row"]), content["unreadable"], kept=True)


def _with_nan(content: Any) -> Any:
    """Undo `without_nan` on a row, whose figures are never None."""
    if isinstance(content, dict):
        return {key: _with_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_with_nan(value) for value in content]
    return math.nan if content is None else content


def _made_of(name: str, truth: Path, predicted: Path | None, distance_mm: float | None, kidney_ml: float) -> str:
    """Return a hash of all that a case's scores depend on."""
    rule = None if distance_mm is None else [distance_mm, kidney_ml]
    try:
        of_prediction = predicted and checked_sha256(predicted)
    except InputError:
        of_prediction = "unreadable"  # counts as empty, as a damaged one does
    told = json.dumps([SCHEMA, code_version(), name, checked_sha256(truth), of_prediction, rule])
    return hashlib.sha256(told.encode()).hexdigest()
