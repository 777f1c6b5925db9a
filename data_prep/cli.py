"""Shared by all commands: input errors become one line and an exit code; long work shows progress."""

from __future__ import annotations

import argparse
import functools
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from data_prep.errors import InputError, of_os_error

Item = TypeVar("Item")

INTERRUPTED = 130  # exit code after Ctrl-C
TERMINATED = 128 + signal.SIGTERM  # after SIGTERM, by which batch systems end a job
NO_READER = 141  # after the reader of the output has ended, as in `| head`


Main = Callable[..., int]  # `main(argv=None)`: the words of the command line (None: `sys.argv`) -> the exit code


def command(
    make_parser: Callable[[], argparse.ArgumentParser],
) -> Callable[[Callable[[argparse.Namespace], int]], Main]:
    """Turn a function of parsed arguments into the `main` of a command, run by `run_command`.

    >>> @command(lambda: argparse.ArgumentParser(prog="python -m example"))
    ... def main(arguments: argparse.Namespace) -> int:
    ...     raise InputError("the file is empty; download it again", "a.nii.gz")
    >>> main([])
    2
    """

    def decorate(body: Callable[[argparse.Namespace], int]) -> Main:
        @functools.wraps(body)
        def main(argv: list[str] | None = None) -> int:
            _escape_output()
            arguments = make_parser().parse_args(argv)
            return run_command(lambda: body(arguments))

        return main

    return decorate


def run_command(body: Callable[[], int]) -> int:
    """Run the body of a command and turn input errors and signals into one line and an exit code.

    SIGTERM, by which batch systems end a job, is treated like Ctrl-C, unless the body handles it.

    Returns:
        The code of the body (0 success, 1 success with a negative result); 2 for bad input, a full disk, or a path
        that cannot be used; 130 after Ctrl-C; 143 after SIGTERM; 141 without a message if nothing reads the output.

    Raises:
        Exception: any other exception is a defect of this project and keeps its traceback, which asks for a report.
    """
    with _sigterm_as_interrupt() as terminated:
        try:
            code = body()
            sys.stdout.flush()
            return code
        except InputError as error:
            return _refused(error)
        except OSError as error:
            if isinstance(error, BrokenPipeError) and _is_unread():
                return NO_READER
            if (known := of_os_error(error)) is None:
                raise _ours(error) from None
            return _refused(known)
        except Exception as error:
            raise _ours(error) from None
        except KeyboardInterrupt:
            print("stopped by the user; run the same command again to resume", file=sys.stderr)
            return TERMINATED if terminated.is_set() else INTERRUPTED


def _refused(error: InputError) -> int:
    print("error: " + " ".join(str(error).splitlines()), file=sys.stderr)
    return 2


def _ours(error: Exception) -> Exception:
    error.add_note("This is a defect of this program; please report it, with these lines and the command.")
    return error


def _escape_output() -> None:
    # of a name that the output's encoding, such as a log file's, cannot hold, as Python does for errors
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def _sigterm_as_interrupt() -> Iterator[threading.Event]:
    """Raise KeyboardInterrupt on SIGTERM inside the block; the event is set if it came."""
    terminated = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield terminated
        return

    def interrupt(*_: object) -> None:
        terminated.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield terminated
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_unread() -> bool:
    """Return whether standard output is a pipe without a reader; if so, drop what is not printed yet."""
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

    In a notebook it is a widget. In a log file, where a bar cannot be redrawn, it is printed every ten seconds at most.
    """
    if notebook := "ipykernel" in sys.modules:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm

    live = notebook or sys.stderr.isatty()
    return tqdm(items, desc=what, total=total, mininterval=0.2 if live else 10.0, leave=True)
