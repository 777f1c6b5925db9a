"""What libraries in C and C++ write to standard error themselves, past Python."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()
_inside = 0  # blocks of all threads that are inside: the first redirects, the last restores
_kept = -1


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what the process writes to file descriptor 2 inside the block, in all its threads.

    Decoders write lines on every slice, which may quote names and identifiers.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    _enter(nowhere)
    os.close(nowhere)
    try:
        yield
    finally:
        _leave()


@contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Keep what the process writes to file descriptor 2 inside the block: the list has its lines afterwards.

    It stays empty inside another block of this module.
    """
    lines: list[str] = []
    with tempfile.TemporaryFile() as file:
        _enter(file.fileno())
        try:
            yield lines
        finally:
            _leave()
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


@contextmanager
def silent() -> Iterator[None]:
    """Drop the warnings of pydicom and highdicom inside the block: they quote names of patients, UIDs and the like."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _enter(target: int) -> None:
    global _inside, _kept
    with _lock:
        _inside += 1
        if _inside > 1:
            return
        sys.stderr.flush()
        try:
            _kept = os.dup(2)
        except OSError:  # it is closed
            _kept = -1
            return
        os.dup2(target, 2)


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0 and _kept >= 0:
            os.dup2(_kept, 2)
            os.close(_kept)
