"""Silence or capture what C and C++ libraries print to standard error; silence pydicom's and highdicom's warnings."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

_lock = Lock()
_inside = 0  # blocks of all threads that are inside: the first redirects, the last restores
_kept = -1
_silenced = 0  # the same for `silent`
_before = ExitStack()  # restores the filters of warnings and the levels of loggers


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
    """Drop the warnings of pydicom and highdicom inside the block: they quote names of patients, UIDs and the like.

    Warnings of all threads are dropped while one is inside.
    """
    global _silenced
    with _lock:
        _silenced += 1
        if _silenced == 1:
            _silence()
    try:
        yield
    finally:
        with _lock:
            _silenced -= 1
            if not _silenced:
                _before.close()


def _silence() -> None:
    _before.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    for name in ("pydicom", "highdicom"):
        logger = logging.getLogger(name)
        _before.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL + 1)


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
