"""Shared by all commands: input errors become one line and an exit code; long work shows progress."""

from __future__ import annotations

import argparse
import functools
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, TypeVar, cast

from data_prep.errors import InputError, is_out_of_memory, of_memory_error, of_os_error
from data_prep.version import code_version

Item = TypeVar("Item")

LINE_SECONDS = 60.0  # between two lines of progress where there is no terminal
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
            with _escaped_output():
                parser = make_parser()
                parser.add_argument(
                    "--version",
                    action=_ShowVersion,
                    nargs=0,
                    default=argparse.SUPPRESS,
                    help="show the version and exit",
                )
                arguments = parser.parse_args(argv)
                return run_command(lambda: body(arguments))

        return main

    return decorate


class _ShowVersion(argparse.Action):
    """Print the version of the distribution, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"kidney_seg {code_version()}")
        parser.exit()


def run_command(body: Callable[[], int]) -> int:
    """Run the body of a command and turn input errors and signals into one line and an exit code.

    SIGTERM, by which batch systems end a job, is treated like Ctrl-C, unless the body handles it.

    Returns:
        The code of the body (0 success, 1 success with a negative result); 2 for bad input, a full disk, a lack of
        memory, or a path that cannot be used; 130 after Ctrl-C; 143 after SIGTERM; 141 without a message if nothing
        reads the output.

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
            known = of_memory_error(MemoryError(error)) if is_out_of_memory(error) else of_os_error(error)
            if known is None:
                raise _ours(error) from None
            return _refused(known)
        except Exception as error:
            if not is_out_of_memory(error):
                raise _ours(error) from None
            return _refused(of_memory_error(MemoryError(error)))
        except KeyboardInterrupt:
            print("stopped by the user; run the same command again to resume", file=sys.stderr)
            return TERMINATED if terminated.is_set() else INTERRUPTED


def _refused(error: InputError) -> int:
    print("error: " + " ".join(str(error).splitlines()), file=sys.stderr)
    return 2


def _ours(error: Exception) -> Exception:
    error.add_note("This is a defect of this program; please report it, with these lines and the command.")
    return error


@contextmanager
def _escaped_output() -> Iterator[None]:
    """Escape all that is printed inside the block, see `Escaping`: names, headers and answers of servers are foreign.

    So is what the encoding of the output, such as a log file's, cannot hold, as Python does for errors.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with redirect_stdout(cast(TextIO, Escaping(sys.stdout))), redirect_stderr(cast(TextIO, Escaping(sys.stderr))):
        yield


class Escaping:
    """A text stream on which nothing unprintable arrives, such as a terminal's escape sequences, but as `\\x1b`.

    New lines and tabs stay, and a carriage return at the start of what is written, as progress bars have it.

    >>> Escaping(sys.stdout).write("a\\x1b]0;b\\n")
    a\\x1b]0;b
    10
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text escaped; return the number of letters."""
        if not text.isprintable():
            start = "\r" if text[:1] == "\r" else ""
            text = start + "".join(map(_shown, text[len(start) :]))
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _shown(letter: str) -> str:
    return letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1]


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

    In a notebook it is a widget. Without a terminal, where a bar cannot be redrawn, a line with the clock is printed
    once a minute.
    """
    if notebook := "ipykernel" in sys.modules:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm

    if notebook or sys.stderr.isatty():
        return tqdm(items, desc=what, total=total, mininterval=0.2, leave=True)
    return _with_lines(items, what, total if total is not None else _length(items))


def _with_lines(items: Iterable[Item], what: str, total: int | None) -> Iterator[Item]:
    started = said = time.monotonic()
    for count, item in enumerate(items):
        now = time.monotonic()
        if count and now - said >= LINE_SECONDS:
            left = f" of {total}, about {(now - started) / count * (total - count):.0f} s left" if total else ""
            print(f"{time.strftime('%H:%M:%S')} {what}: {count}{left}", file=sys.stderr, flush=True)
            said = now
        yield item


def _length(items: Iterable[Item]) -> int | None:
    return len(items) if isinstance(items, Sized) else None
