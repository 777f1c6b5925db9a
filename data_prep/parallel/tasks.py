"""Run one function on many tasks: in this process, in N worker processes, or on the workers of a Dask scheduler.

Each worker process has its own pipe: a pool that shares a queue hangs when a worker dies.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar, cast

from data_prep.cli import progress
from data_prep.errors import InputError, require

T = TypeVar("T")
R = TypeVar("R")

RETRIES = 2  # on Dask, of a task whose function raises; tasks of a worker that dies go to another one anyway
JOIN_SECONDS = 30


@dataclass(frozen=True)
class WorkerDied:
    """Result of a task whose worker died; `str()` gives a clause such as "its process was killed by signal 9"."""

    reason: str

    def __str__(self) -> str:
        return self.reason


def check_jobs(jobs: int, scheduler: str | None = None) -> None:
    """Raise InputError unless `jobs` is 1 or more, and 1 with a scheduler."""
    if jobs < 1 or (scheduler and jobs > 1):
        expected = "1 with a scheduler, whose workers do the work" if scheduler else "1 or more"
        raise InputError(f"jobs {jobs}: expected {expected}")


@contextmanager
def run(
    function: Callable[[T], R],
    tasks: Sequence[T],
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    what: str | None = None,
) -> Iterator[Iterable[tuple[int, R | WorkerDied]]]:
    """Call `function(task)` for every task; a context manager that gives (index of the task, result) as they finish.

    A worker that dies costs only its own task: the result is then a `WorkerDied`, and the other tasks are done. Leaving
    the block ends the work at once. What the user should know of a task, `function` returns: an exception is raised
    here if `jobs` is 1, else it ends the worker, with a traceback on standard error (Dask retries the task first).

    Args:
        function: of a module, so that workers can import it, unless it runs in this process.
        tasks: frozen dataclasses, which pickle can write, as it can the results.
        jobs: number of worker processes; with 1, this process does the work.
        scheduler: address of a Dask scheduler, such as tcp://node1:8786, whose workers do the work. They need this
            package and the same paths: each task is given to them as `absolute(task)`.
        what: description of a progress bar; None for none.

    Raises:
        InputError: Dask is not installed, or no scheduler answers.

    >>> with run(abs, [-1, 2, -3]) as results:
    ...     dict(results)
    {0: 1, 1: 2, 2: 3}
    """
    if scheduler is not None:
        results = _on_dask(function, [absolute(task) for task in tasks], scheduler)
    elif jobs > 1:
        results = _in_processes(function, tasks, jobs)
    else:
        results = ((index, function(task)) for index, task in enumerate(tasks))
    with closing(results):
        yield results if what is None else progress(results, what, total=len(tasks))


def absolute(value: T) -> T:
    """Return a path, or a dataclass, list or tuple with paths in it, with all paths absolute; other values unchanged.

    >>> absolute((Path("/data"), "a", None))
    (PosixPath('/data'), 'a', None)
    """
    found: Any = value
    if isinstance(value, Path):
        found = value.absolute()
    elif type(value) in (list, tuple):
        found = type(found)([absolute(one) for one in found])
    elif is_dataclass(value) and not isinstance(value, type):
        found = replace(value, **{one.name: absolute(getattr(value, one.name)) for one in fields(value)})
    return found


def _on_dask(function: Callable[[T], R], tasks: Sequence[T], address: str) -> Generator[tuple[int, R | WorkerDied]]:
    distributed = require("distributed", "scale")
    try:
        client = distributed.Client(address, timeout=JOIN_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler {address}: no Dask scheduler answers ({' '.join(str(error).split())}); start one with "
            "dask scheduler, and workers with dask worker"
        ) from None
    with client:
        # not pure: a task writes files, so the result of an earlier call does not stand for it
        futures = [client.submit(function, task, pure=False, retries=RETRIES) for task in tasks]
        places = {future.key: index for index, future in enumerate(futures)}
        try:
            for future in distributed.as_completed(futures):
                try:
                    result = future.result()
                except Exception as error:  # of the function, of the workers, of the cluster
                    reason = " ".join(f"{type(error).__name__}: {error}".split())
                    result = WorkerDied(f"its task failed ({reason}); run again")
                yield places[future.key], result
        finally:
            client.cancel(futures)


def _in_processes(function: Callable[[T], R], tasks: Sequence[T], jobs: int) -> Generator[tuple[int, R | WorkerDied]]:
    """Run tasks in a pool with one pipe per worker: a pool with one shared queue can hang when a worker is killed."""
    waiting = deque(enumerate(tasks))
    pool: dict[Connection, tuple[BaseProcess, int]] = {}  # each worker with the index of its task
    try:
        while waiting or pool:
            while waiting and len(pool) < jobs:
                _assign(*_start(function), pool, waiting)
            for ready in wait(list(pool)):
                connection = cast(Connection, ready)
                process, index = pool.pop(connection)
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    result = _stop(connection, process)
                else:
                    if waiting:
                        _assign(connection, process, pool, waiting)
                    else:
                        _stop(connection, process)
                yield index, result
    finally:
        for process, _ in pool.values():
            process.terminate()
        for connection, (process, _) in pool.items():
            _stop(connection, process)


def _start(function: Callable[..., Any]) -> tuple[Connection, BaseProcess]:
    # spawned, not forked: SimpleITK's and BLAS' threads do not survive a fork
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, function), daemon=True)
    resource_tracker.ensure_running()  # its start would lift the mask below
    # a blocked signal stays blocked in the new process: Ctrl-C, which a terminal sends to all, leaves no tracebacks
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()  # the worker's end is then the only one, so that its death closes the pipe
    return ours, process


def _assign(
    connection: Connection,
    process: BaseProcess,
    pool: dict[Connection, tuple[BaseProcess, int]],
    waiting: deque[tuple[int, Any]],
) -> None:
    index, task = waiting.popleft()
    pool[connection] = process, index
    with suppress(OSError):  # a worker that has died is noticed when its result is read
        connection.send(task)


def _stop(connection: Connection, process: BaseProcess) -> WorkerDied:
    connection.close()
    process.join()
    code = process.exitcode
    how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
    return WorkerDied(f"its process {how}, most likely for lack of memory; run again with fewer --jobs")


def _work(connection: Connection, function: Callable[..., Any]) -> None:
    # until there are no more tasks, or the process that gave them is gone
    with suppress(EOFError, ConnectionError):
        while True:
            task = connection.recv()
            result = function(task)
            connection.send(result)
