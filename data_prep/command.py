"""What every command shares: how bad input ends, and how long work shows that it goes on."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TypeVar

Item = TypeVar("Item")


class InputError(Exception):
    """The user's input cannot be used.

    The message is one line: what is wrong, where, what was found, what was expected, what to do.
    Commands print it and end with exit code 2; in Python it is raised like any exception.
    """


def run_command(body: Callable[[], int]) -> int:
    """Run the body of a command and turn the user's mistakes into one line and an exit code.

    Returns the body's own code (0 done, 1 done with a negative answer), 2 for bad input, a full disk or a folder that
    may not be used, 130 when interrupted from the keyboard, 141 without a word when nobody reads the output any more,
    as after `| head`. Any other exception is a defect of ours and keeps its traceback.
    """
    try:
        code = body()
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 141
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            remedy = "free some space or choose another folder"
        elif error.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR):
            remedy = "choose a folder that you may read and write"
        else:
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"error: {error.strerror}{where}: {remedy}, then run this again",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("stopped by the user; run the same command again to go on", file=sys.stderr)
        return 130


def _nobody_reads() -> bool:
    """Return whether standard output is a pipe without a reader; if so, drop what was still to be printed."""
    import select

    try:
        output = sys.stdout.fileno()
    except OSError:  # not a file, as in a notebook
        return False
    poll = select.poll()
    poll.register(output, 0)
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return gone


def require(module: str, extra: str) -> ModuleType:
    """Import a module that only an extra of this project installs, and return it.

    InputError with the pip command where its package is not installed. An error inside an installed package keeps its
    traceback.

    >>> require("math", "onnx").pi > 3
    True
    >>> require("no_such_package.part", "onnx")
    Traceback (most recent call last):
    data_prep.command.InputError: the package no_such_package is not installed; run: pip install 'kidney_seg[onnx]'
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise InputError(f"the package {package} is not installed; run: pip install 'kidney_seg[{extra}]'") from None


def progress(items: Iterable[Item], what: str, *, total: int | None = None) -> Iterable[Item]:
    """Yield `items` with a progress bar (count, rate, time left) on standard error.

    In a log file, where a bar cannot be redrawn, it writes a line every ten seconds at most.
    """
    from tqdm import tqdm

    live = sys.stderr.isatty()
    return tqdm(items, desc=what, total=total, mininterval=0.2 if live else 10.0, leave=True)
