from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from data_prep.errors import InputError
from data_prep.parallel.tasks import WorkerDied, absolute, check_jobs, run


def double(number: int) -> int:
    return 2 * number


def double_or_die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 5:
        os._exit(7)
    if number == 6:
        raise ValueError("a defect")
    return 2 * number


def my_pid(_: int) -> int:
    return os.getpid()


def sleep(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_every_task_is_done_once(jobs: int) -> None:
    with run(double, range(10), jobs=jobs) as results:
        found = list(results)
    assert sorted(found) == [(number, 2 * number) for number in range(10)]


def test_no_task_starts_no_process() -> None:
    with run(double, [], jobs=4) as results:
        assert list(results) == []


def test_a_process_that_dies_takes_its_own_task_only(capfd: pytest.CaptureFixture[str]) -> None:
    with run(double_or_die, range(8), jobs=2) as results:
        found = dict(results)
    advice = "most likely for lack of memory; run again with fewer --jobs"
    expected = {number: 2 * number for number in range(8)}
    assert found == expected | {
        3: WorkerDied(f"its process was killed by signal 9, {advice}"),
        5: WorkerDied(f"its process ended with code 7, {advice}"),
        6: WorkerDied(f"its process ended with code 1, {advice}"),
    }
    assert "ValueError: a defect" in capfd.readouterr().err


def test_an_exception_in_this_process_is_raised() -> None:
    with pytest.raises(ValueError, match="a defect"), run(double_or_die, [6]) as results:
        list(results)


def test_the_processes_are_others_and_end_with_the_block() -> None:
    with run(my_pid, [0] * 6, jobs=2) as results:
        pids = {pid for _, pid in results}
    assert 1 <= len(pids) <= 2 and os.getpid() not in pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_leaving_the_block_does_not_wait_for_the_tasks() -> None:
    with run(sleep, [0, 600, 600], jobs=2) as results:
        assert next(iter(results)) == (0, None)
        begin = time.monotonic()
    assert time.monotonic() - begin < 300


@dataclass(frozen=True)
class Inner:
    path: Path
    name: str


@dataclass(frozen=True)
class Outer:
    inner: Inner
    paths: tuple[Path, ...]
    out: Path | None


def test_paths_in_a_task_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = Outer(Inner(Path("a"), "a"), (Path("b"), Path("/c")), None)
    assert absolute(task) == Outer(Inner(tmp_path / "a", "a"), (tmp_path / "b", Path("/c")), None)
    assert absolute([Path("a"), "a", 3]) == [tmp_path / "a", "a", 3]


@pytest.mark.parametrize(
    ("jobs", "scheduler", "expected"),
    [
        (0, None, "jobs 0: expected 1 or more"),
        (2, "tcp://a:1", "jobs 2: expected 1 with a scheduler, whose workers do"),
    ],
)
def test_numbers_of_jobs_that_are_refused(jobs: int, scheduler: str | None, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        check_jobs(jobs, scheduler)
