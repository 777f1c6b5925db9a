"""One writer a folder at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.command import InputError

LOCK = ".lock"  # stays in the folder: to remove it while another process opens it would let both in


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
            file.seek(0)
            pid = file.read().strip() or "unknown"
            raise InputError(f"{folder}: another process ({pid}) is writing here; {remedy}") from None
        except OSError:
            pass  # no locks here
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
