"""SIGTERM, by which batch systems end a job, treated as Ctrl-C."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from data_prep.errors import InputError

EXIT_CODE = 128 + signal.SIGTERM


def ended_by_sigterm(command: Callable[[], int]) -> int:
    """Run a command that ends well on KeyboardInterrupt, such as `run_command`; SIGTERM then raises it, too.

    Returns the command's exit code, 143 where SIGTERM came. Only the main thread may call it.
    """
    came = False

    def interrupt(*_: object) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        code = command()
    finally:
        signal.signal(signal.SIGTERM, before)
    return EXIT_CODE if came else code


Item = TypeVar("Item")


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


def progress(items: Iterable[Item], what: str, *, total: int | None = None) -> Iterable[Item]:
    """Yield `items` with a progress bar (count, rate, time left) on standard error.

    In a log file, where a bar cannot be redrawn, it writes a line every ten seconds at most.
    """
    from tqdm import tqdm

    live = sys.stderr.isatty()
    return tqdm(items, desc=what, total=total, mininterval=0.2 if live else 10.0, leave=True)
