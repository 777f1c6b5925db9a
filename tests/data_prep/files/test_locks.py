from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.helpers import one_line

from data_prep.errors import InputError
from data_prep.files.locks import LOCK, locked

HOLD = """
import sys, time
from data_prep.files.locks import locked
with locked(sys.argv[1], ""):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_is_one_processs_and_free_when_that_was_killed(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InputError) as caught, locked(tmp_path, "wait for it"):
        pass
    assert one_line(caught) == f"{tmp_path}: another process ({other.pid}) is writing here; wait for it"
    other.kill()
    other.communicate()
    for _ in range(2):
        with locked(tmp_path, "wait for it"):
            pass


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path, ""):
        raise ZeroDivisionError
    with locked(tmp_path, ""):
        pass


def test_who_has_just_taken_the_lock_may_say_so_a_moment_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.files.locks.LOOKS", 10_000)  # a moment is longer on a machine that has other work
    with open(tmp_path / LOCK, "a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        late = threading.Timer(0.2, lambda: (file.write("4711\n"), file.flush()))
        late.start()
        with pytest.raises(InputError) as caught, locked(tmp_path, "wait for it"):
            pass
        late.join()
    assert "another process (4711)" in one_line(caught)
