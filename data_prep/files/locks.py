"""One writer a folder at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from data_prep.errors import InputError

LOCK = ".lock"  # stays in the folder: to remove it while another process opens it would let both in
LOOKS, LOOK_SECONDS = 20, 0.05


@contextmanager
def locked(folder: str | Path, remedy: str, name: str = LOCK) -> Iterator[None]:
    """Hold the lock of an existing folder; the system lets go of it when the process ends, however it ends.

    `name`: another file than the folder's own, for writers that may be many, each with files of its own.

    InputError with the other's process number and `remedy` where another process holds it. Some network file systems
    know no locks; the block then runs without, so what it writes must be safe by itself, too.
    """
    folder = Path(folder)
    with open(folder / name, "a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{folder}: another process ({_holder(file)}) is writing here; {remedy}") from None
        except OSError:
            pass  # no locks here
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _holder(file: TextIO) -> str:
    for _ in range(LOOKS):  # who has just taken the lock has not yet written who it is
        file.seek(0)
        if pid := file.read().strip():
            return pid
        time.sleep(LOOK_SECONDS)
    return "unknown"
