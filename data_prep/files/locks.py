"""Locks: one writer per folder at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from data_prep.errors import InputError

LOCK = ".lock"  # stays in the folder: removing it while another process opens it would let both write
LOOKS, LOOK_SECONDS = 20, 0.05


@contextmanager
def locked(folder: str | Path, remedy: str, name: str = LOCK) -> Iterator[None]:
    """Hold the lock of an existing folder until the block or the process ends.

    name: of the lock file; another one for writers that each have files of their own. InputError (code `locked`) with
    the other's process number and `remedy` if another process holds it. Some network file systems have no locks; the
    block then runs without one, so its writes must also be safe without it.
    """
    folder = Path(folder)
    with open(folder / name, "a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            detail = f"another process ({_holder(file)}) is writing here; {remedy}"
            raise InputError(detail, folder, "locked") from None
        except OSError:
            pass  # no locks on this file system
        if is_lock(folder / name):  # another program's file keeps its content
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
        yield


def is_lock(path: Path) -> bool:
    """Return whether a file is a lock of this project: empty, or with a process number."""
    try:
        return path.read_bytes().strip().isdigit() or path.stat().st_size == 0
    except OSError:
        return False


def _holder(file: TextIO) -> str:
    for _ in range(LOOKS):  # a process that has just taken the lock may not have written its number yet
        file.seek(0)
        if pid := file.read().strip():
            return pid
        time.sleep(LOOK_SECONDS)
    return "unknown"
