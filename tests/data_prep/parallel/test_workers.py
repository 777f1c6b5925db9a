from __future__ import annotations

import os
import signal
import time

import pytest

from data_prep.parallel.workers import Died, in_workers


def double(number: int) -> int:
    return 2 * number


def double_or_die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 5:
        os._exit(7)
    return 2 * number


def my_pid(_: int) -> int:
    return os.getpid()


def sleep(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_task_is_done_once(jobs: int) -> None:
    found = dict(in_workers(double, [(number,) for number in range(10)], jobs))
    assert found == {number: 2 * number for number in range(10)}


def test_no_task_starts_no_process() -> None:
    assert list(in_workers(double, [], 4)) == []


def test_a_process_that_dies_takes_its_own_task_only() -> None:
    found = dict(in_workers(double_or_die, [(number,) for number in range(8)], 2))
    expected = {number: 2 * number for number in range(8)}
    assert found == expected | {3: Died(-9), 5: Died(7)}
    assert str(found[3]) == "was killed by signal 9" and str(found[5]) == "ended with code 7"


def test_the_processes_are_others_and_end_with_the_iterator() -> None:
    pids = {pid for _, pid in in_workers(my_pid, [(0,)] * 6, 2)}
    assert 1 <= len(pids) <= 2 and os.getpid() not in pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_closing_the_iterator_does_not_wait_for_the_tasks() -> None:
    results = in_workers(sleep, [(0,), (600,), (600,)], 2)
    assert next(results) == (0, None)
    begin = time.monotonic()
    results.close()
    assert time.monotonic() - begin < 300
