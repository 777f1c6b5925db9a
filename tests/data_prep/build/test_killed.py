"""Builds that are killed, stopped, doubled or run out of room: whole files only, and the next build goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.helpers import content_of, noise_cases, second_worker_died

from data_prep.build import builder as build_module
from data_prep.build.__main__ import main
from data_prep.build.builder import build
from data_prep.build.case import Built, Task, build_case
from data_prep.cache.case_file import is_whole
from data_prep.cache.manifest import read_manifest, verify
from data_prep.datasets.kits import find_cases
from data_prep.files.locks import locked
from data_prep.geometry.network_grid import GridSettings
from data_prep.parallel.tasks import run

CASES = 40
PATIENCE_S = 300  # for what takes a second on a machine of its own
SETTINGS = GridSettings(256)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_cases(tmp_path_factory.mktemp("cohort") / "data", CASES)


@pytest.fixture(scope="module")
def undisturbed(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    cache = tmp_path_factory.mktemp("undisturbed") / "cache"
    build(cohort, cache, SETTINGS)
    return content_of(cache)


def start(cohort: Path, cache: Path, *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "data_prep.build", str(cohort), "--cache", str(cache), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_mind_ctrl_c,
    )


def _mind_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in a shell's background ignores it


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def wait_for_lock(cache: Path, process: subprocess.Popen) -> None:
    """Wait until a build is past its imports, and the cache its own."""
    lock = cache / ".lock"
    wait_for(lambda: process.poll() is not None or (lock.exists() and lock.read_text() == f"{process.pid}\n"))


def cases_in(cache: Path) -> int:
    return len(list(cache.glob("case_*.h5")))


def empty(cache: Path) -> None:
    for path in cache.iterdir():
        path.unlink()


KILLS, MIDWAY, TRIES = 8, 3, 100


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(cohort: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """The moments are chosen by what is done by then: how fast the machine is does not count."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # shown if the test fails
    draw = random.Random(seed)
    cache = tmp_path / "cache"
    hit = midway = tries = 0
    while hit < KILLS or midway < MIDWAY:
        tries += 1
        assert tries <= TRIES, f"{hit} kills, {midway} of them while cases were built: the others missed it"
        before = cases_in(cache)
        process = start(cohort, cache, "--jobs", draw.choice("112"))
        wait_for_lock(cache, process)
        wanted = before + draw.randint(0, CASES // 4)
        wait_for(lambda process=process, wanted=wanted: process.poll() is not None or cases_in(cache) >= wanted)
        time.sleep(draw.uniform(0, 0.02))  # within a case, too
        if draw.random() < 0.5 and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()  # its workers find that out by themselves
        said = process.communicate()[1]
        if process.returncode == 0:  # it was quicker: begin again
            assert content_of(cache) == undisturbed
            empty(cache)
            continue
        assert process.returncode == -signal.SIGKILL, said
        hit += 1
        midway += before < cases_in(cache) < CASES
        assert all(is_whole(path) for path in cache.glob("case_*.h5"))
        assert not (cache / "manifest.json").exists() or content_of(cache).items() >= undisturbed.items()
        assert cases_in(cache) >= before
    result = build(cohort, cache, SETTINGS)
    assert result.kept + result.made == CASES
    assert content_of(cache) == undisturbed  # leftovers of killed builds are gone, too


@pytest.mark.parametrize(
    ("jobs", "number", "code"), [("1", signal.SIGTERM, 143), ("2", signal.SIGTERM, 143), ("2", signal.SIGINT, 130)]
)
def test_a_stopped_build_says_so_in_one_line_and_leaves_no_process(
    cohort: Path, undisturbed: dict[str, bytes], tmp_path: Path, jobs: str, number: int, code: int
) -> None:
    cache = tmp_path / "cache"
    for _ in range(5):
        process = start(cohort, cache, "--jobs", jobs)
        wait_for(lambda process=process: process.poll() is not None or cases_in(cache) >= 3)
        if number == signal.SIGINT and process.poll() is None:
            os.killpg(process.pid, number)  # as a terminal does: to all
        else:
            process.send_signal(number)
        said = [line for line in process.communicate()[1].splitlines() if line and not line.startswith("build:")]
        if process.returncode != 0:
            break
        empty(cache)  # it was done before it heard the signal: once more
    assert (process.returncode, said) == (code, ["stopped by the user; run the same command again to resume"])
    with pytest.raises(ProcessLookupError):
        wait_for(lambda: bool(os.killpg(process.pid, 0)))
    done = content_of(cache)
    assert 3 <= len(done) < CASES and done.items() <= undisturbed.items()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_full_disk_is_one_line_and_the_next_build_goes_on(
    cohort: Path, undisturbed: dict[str, bytes], tmp_path: Path, jobs: str
) -> None:
    largest = max(len(content) for content in undisturbed.values())
    fitting = sum(name.endswith(".h5") and len(content) < largest for name, content in undisturbed.items())
    assert fitting  # some do before the first does not

    cache = tmp_path / "cache"
    arguments = [str(cohort), "--cache", str(cache), "--jobs", jobs]
    code = (
        "import resource, sys; from data_prep.build.__main__ import main\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({largest - 1}, resource.RLIM_INFINITY))\n"
        f"sys.exit(main({arguments!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line and not line.startswith("build:")]
    assert done.returncode == 2, done.stderr
    assert len(said) == 1 and "File too large" in said[0] and str(cache) in said[0] and "free some space" in said[0]
    assert content_of(cache).items() <= undisturbed.items()
    assert build(cohort, cache, SETTINGS).failures == []
    assert content_of(cache) == undisturbed


def test_two_builds_at_once_give_one_cache(cohort: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    both = [start(cohort, cache) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 2], [0, 0])  # where one began when the other had ended
    for process, text in zip(both, said, strict=True):
        if process.returncode == 2:
            other = both[1 - both.index(process)]
            assert f"another process ({other.pid}) is writing here" in text
    assert content_of(cache) == undisturbed


def test_a_build_that_finds_another_one_refuses(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    with locked(cache, "wait"):
        assert main([str(cohort), "--cache", str(cache)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and f"({os.getpid()})" in line and "choose another --cache" in line
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_case_files_are_safe_without_the_lock(cohort: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    case = find_cases(cohort)[0][0]
    with run(build_case, [Task(case, tmp_path, SETTINGS)] * 12, jobs=2) as outcomes:
        assert all(isinstance(outcome, Built) for _, outcome in outcomes)
    assert content_of(tmp_path) == {"case_00000.h5": undisturbed["case_00000.h5"]}


def test_a_worker_that_dies_costs_its_case_only(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "run", second_worker_died)
    result = build(cohort, tmp_path / "cache", SETTINGS, jobs=2)
    assert result.failures == [
        "case_00001: its task failed (KilledWorker: 4 times); run again: finished cases are kept"
    ]
    assert len(result.manifest.entries) == CASES - 1
    monkeypatch.undo()
    healed = build(cohort, tmp_path / "cache", SETTINGS)
    assert (healed.made, healed.kept) == (1, CASES - 1)
    manifest = read_manifest(tmp_path / "cache")
    for entry in manifest.entries:
        verify(manifest, entry)
