"""Predict many scans: in this process, in several, or on Dask; what fails is recorded, the others are done."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

from data_prep.cli import progress
from data_prep.errors import NO_ROOM, InputError, of_memory_error, of_os_error
from data_prep.files.atomic import remove_leftovers
from data_prep.files.outputs import check_outputs
from data_prep.parallel.tasks import WorkerDied, check_jobs, run
from data_prep.scans import Scan
from kidney_seg.hardware import THREADS, threads
from kidney_seg.predict.engines import Job, choose_engine
from kidney_seg.predict.memory import jobs_that_fit
from kidney_seg.predict.outputs import Foreign, Outputs, check_all
from kidney_seg.predict.scans import ScanResult, Segmenter, process_scan
from kidney_seg.results.picture import is_picture
from kidney_seg.results.record import failure_path, read_failure, remove_failure, write_failure
from kidney_seg.results.writer import Results, check_results


@dataclass(frozen=True)
class ScanTask:
    """Arguments of `process_scan`."""

    job: Segmenter
    scan: Scan
    outputs: Outputs
    force: bool
    pictures: bool = False


def predict_scans(
    job: Segmenter,
    scans: Sequence[tuple[Scan, Outputs]],
    *,
    force: bool = False,
    jobs: int = 1,
    scheduler: str | None = None,
    results: Path | None = None,
    begin: Callable[[], None] = lambda: None,
    log: Callable[[str], None] = print,
) -> list[tuple[Scan, InputError]]:
    """Predict many scans; return those that failed, in their order, each with its error.

    Files that exist and were made in the same way are kept, unless `force`.

    Args:
        force: predict again, and replace files that other settings made.
        jobs: processes, at most as many as the memory holds; `job` must be a `Job` for more than one.
        scheduler: address of a Dask scheduler whose workers predict; they need the same paths.
        results: the folder of all outputs, whose table and page are written after each scan.
        begin: called when nothing is refused, before the first scan.
        log: receives a line per scan.

    Raises:
        InputError: files exist that other settings made, without `force`; an output is one of the inputs, cannot be
            written, or is a file of another kind; raised before the first scan.
    """
    check_jobs(jobs, scheduler)
    results = None if results is None else results.absolute()
    _check(job, scans, force, results)
    begin()
    tasks = [ScanTask(job, scan, outputs, force, results is not None) for scan, outputs in scans]
    jobs = jobs_that_fit(jobs, [scan for scan, _ in scans], log=_to_stderr)
    watch = (lambda slabs: progress(slabs, "batches of slices")) if len(tasks) == 1 else iter
    elsewhere = scheduler is not None or jobs > 1
    function = process_task_on_worker if elsewhere else partial(process_task, watch=watch)
    failed: dict[int, InputError] = {}
    table = Results(results)
    try:
        with _fewer_threads(jobs), run(function, tasks, jobs=jobs, scheduler=scheduler) as outcomes:
            for index, result in _counted(outcomes, len(tasks), failed):
                for line in result.notes:
                    _to_stderr(line)
                name = tasks[index].outputs.name
                if result.error is None:
                    log(f"{tasks[index].outputs.labels}: {result}")
                    if results is not None:
                        remove_failure(results, name)
                elif results is not None:
                    write_failure(results, name, result.error)
                table.update()
    finally:
        table.finish()
        for folder in {path.parent for _, outputs in scans for path in (*outputs.all, outputs.picture)}:
            remove_leftovers(folder)  # of processes that were killed
    return [(scans[index][0], failed[index]) for index in sorted(failed)]


def _check(job: Segmenter, scans: Sequence[tuple[Scan, Outputs]], force: bool, results: Path | None) -> None:
    check_all([outputs for _, outputs in scans], [scan.image for scan, _ in scans])
    if results is not None:
        check_results(results)
        check_outputs([outputs.picture for _, outputs in scans], ours=is_picture)
        failures = [failure_path(results, outputs.name) for _, outputs in scans]
        check_outputs(failures, ours=lambda path: read_failure(path) is not None)
    for _, outputs in scans:
        state = outputs.state(job.made_by)
        if isinstance(state, Foreign) and not (force and state.replaceable):
            raise state.error


def _counted(outcomes: Any, total: int, failed: dict[int, InputError]) -> Iterator[tuple[int, ScanResult]]:
    """Yield the results, with a bar of scans done, failed and time left; errors are added to `failed`."""
    from tqdm import tqdm

    bar = progress(outcomes, "scans", total=total) if total > 1 else outcomes
    for index, outcome in bar:
        result = outcome
        if isinstance(outcome, WorkerDied):
            result = ScanResult({}, InputError(f"{outcome}: finished scans are kept", code="worker_died"))
        if result.error is not None:
            failed[index] = result.error
            if isinstance(bar, tqdm):
                bar.set_postfix_str(f"{len(failed)} failed", refresh=False)
        yield index, result


@contextmanager
def _fewer_threads(jobs: int) -> Iterator[None]:
    """Divide the processor's cores among worker processes, which inherit the variable, unless the user has set it."""
    if jobs < 2 or THREADS in os.environ:
        yield
        return
    os.environ[THREADS] = str(max(1, threads() // jobs))
    try:
        yield
    finally:
        del os.environ[THREADS]


def process_task(task: ScanTask, **options: Any) -> ScanResult:
    """Return the result of `process_scan`, with its error inside."""
    try:
        return process_scan(task.job, task.scan, task.outputs, force=task.force, pictures=task.pictures, **options)
    except InputError as error:
        return ScanResult({}, error)
    except MemoryError as error:
        return ScanResult({}, of_memory_error(error, task.scan.image))
    except OSError as error:  # of this scan's files, unless the disk is full
        if error.errno in NO_ROOM or (known := of_os_error(error)) is None:
            raise
        return ScanResult({}, known)


_ONE_AT_A_TIME = Lock()  # a worker may have several threads; memory is for one scan


def process_task_on_worker(task: ScanTask) -> ScanResult:
    """Return the result of `process_scan`, with its error and notes inside."""
    notes: list[str] = []
    with _ONE_AT_A_TIME:
        try:
            if isinstance(task.job, Job):
                task = replace(task, job=_job_of_this_worker(task.job))
        except InputError as error:  # the engine is not installed here
            return ScanResult({}, error)
        return replace(process_task(task, log=notes.append), notes=tuple(notes))


@lru_cache(maxsize=1)
def _job_of_this_worker(job: Job) -> Job:
    # kept between tasks, with the network that the first scan loads
    return replace(job, engine=choose_engine(job.engine, job.device, job.sources))


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
