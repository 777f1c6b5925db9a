"""Version folders appear whole or not at all, whatever becomes of the process."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_prep.errors import InputError
from kidney_seg.export.versions import latest, publish

FILES = 40


def write(folder):
    for number in range(FILES):
        (folder / f"{number}").write_bytes(b"x" * 10_000)


def test_the_next_free_number(tmp_path):
    (tmp_path / "model" / "7").mkdir(parents=True)
    (tmp_path / "model" / "notes").mkdir()
    assert publish(tmp_path / "model", write).name == "8"
    assert publish(tmp_path / "model", write).name == "9"
    assert latest(tmp_path / "model").name == "9"
    assert publish(tmp_path / "new", write) == tmp_path / "new" / "1"


def test_nothing_stays_of_what_failed(tmp_path):
    def fail(folder):
        write(folder)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        publish(tmp_path / "model", fail)
    assert not list((tmp_path / "model").iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        publish(tmp_path / "file", write)
    for nowhere in (tmp_path / "model", tmp_path / "absent"):
        with pytest.raises(InputError, match="no exported model"):
            latest(nowhere)


def test_two_at_once_get_two_numbers(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[2]); from test_versions import *\nprint(publish(sys.argv[1], write))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "model"), str(Path(__file__).parent)]
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: subprocess.run(command, capture_output=True, text=True), range(3)))
    assert sorted(one.stdout.strip()[-1] for one in done) == ["1", "2", "3"], [one.stderr[-500:] for one in done]


def test_killed_at_random_moments(tmp_path):
    script = (
        "import sys, time; from kidney_seg.export.versions import publish\n"
        "def write(folder):\n"
        f"    for number in range({FILES}):\n"
        "        (folder / str(number)).write_bytes(b'x' * 10_000)\n"
        "        time.sleep(0.001)\n"
        "print('begun', flush=True)\n"
        "while True: publish(sys.argv[1], write)\n"
    )
    chance = random.Random(4)
    half_written = 0
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.3))
            process.kill()
        half_written += any(entry.name.startswith(".tmp-") for entry in tmp_path.iterdir())
        for version in tmp_path.iterdir():
            if version.name.isdecimal():
                assert len(list(version.iterdir())) == FILES
            else:
                assert version.name.startswith(".")  # no server takes that for a version
    assert half_written
    publish(tmp_path, write)
    assert all(entry.name.isdecimal() for entry in tmp_path.iterdir())
