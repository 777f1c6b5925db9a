"""Processes that share a list of tasks; one that dies takes only its own task with it."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

Crew = dict[Connection, tuple[BaseProcess, int]]  # who works on which task
Waiting = deque[tuple[int, tuple]]  # (index, arguments) of the tasks that nobody has yet


@dataclass(frozen=True)
class Died:
    """Stands for the result of a task whose process ended under it. exitcode: minus the signal, if by a signal.

    reason: what a scheduler says of it, where there is no exit code.
    """

    exitcode: int | None
    reason: str | None = None

    def __str__(self) -> str:
        if self.reason is not None:
            return f"failed ({self.reason})"
        if self.exitcode is not None and self.exitcode < 0:
            return f"was killed by signal {-self.exitcode}"
        return f"ended with code {self.exitcode}"


def in_workers(
    function: Callable[..., Any], tasks: Sequence[tuple], jobs: int
) -> Generator[tuple[int, Any], None, None]:
    """Call `function(*task)` for every task in `jobs` processes; yield (index of the task, result) as they finish.

    The result is a `Died` where the process ended under its task; a new process then takes the next one. `function`
    belongs to a module, tasks and results are what pickle takes. An exception ends the process like any death, with
    its traceback on standard error: catch in `function` what is to be known here. Closing the iterator ends all
    processes at once. Ctrl-C reaches the caller only.
    """
    waiting = deque(enumerate(tasks))
    crew: Crew = {}
    try:
        for _ in range(min(jobs, len(tasks))):
            _hire(function, crew, waiting)
        while crew:
            for ready in wait(list(crew)):
                connection = cast(Connection, ready)  # `wait` gives back what it was given
                process, index = crew[connection]
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    result = _dismiss(connection, crew)
                    if waiting:
                        _hire(function, crew, waiting)
                else:
                    if waiting:
                        _hand_over(connection, process, crew, waiting)
                    else:
                        _dismiss(connection, crew)
                yield index, result
    finally:
        for process, _ in crew.values():
            process.terminate()
        for connection in list(crew):
            _dismiss(connection, crew)


def _hire(function: Callable[..., Any], crew: Crew, waiting: Waiting) -> None:
    # spawned, not forked: SimpleITK's and BLAS' threads do not survive a fork
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, function), daemon=True)
    resource_tracker.ensure_running()  # its start would lift the mask below
    # a blocked signal stays so in the new process: Ctrl-C, which the terminal sends to all, then leaves no tracebacks
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    there.close()  # so that the worker's end is the only one, and its death is seen
    _hand_over(here, process, crew, waiting)


def _hand_over(connection: Connection, process: BaseProcess, crew: Crew, waiting: Waiting) -> None:
    index, task = waiting.popleft()
    crew[connection] = process, index
    with suppress(OSError):  # if it died in between, that is seen when its answer is read
        connection.send(task)


def _dismiss(connection: Connection, crew: Crew) -> Died:
    process, _ = crew.pop(connection)
    connection.close()
    process.join()
    return Died(process.exitcode)


def _work(connection: Connection, function: Callable[..., Any]) -> None:
    while True:
        try:
            task = connection.recv()
        except EOFError:  # no more tasks, or the process that gave them is gone
            return
        result = function(*task)
        try:
            connection.send(result)
        except ConnectionError:  # nobody waits for it any more
            return
