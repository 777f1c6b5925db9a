"""What libraries in C and C++ write to standard error themselves, past Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what the process writes to file descriptor 2 inside the block; Python's own lines before it are kept.

    Decoders write lines on every slice, which may quote names and identifiers. Of a closed descriptor nothing is
    dropped.
    """
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
