"""Ctrl-C and SIGTERM during a training: the current batch is finished and saved, then the process ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(Exception):
    """A process was asked to stop by the signal `signal_number`; `where` says what it was doing."""

    def __init__(self, signal_number: int, where: str = ""):
        super().__init__(f"stopped by {signal.Signals(signal_number).name}{where}")
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal_number


class StopRequest:
    """What the signals have asked for so far."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._patient = 0  # above 0 while somebody looks at `signal_number` and stops by himself

    def receive(self, number: int, _frame: object = None) -> None:
        """Take a signal: end at once, but for the first one while a batch runs, which is only noted."""
        first = self.signal_number is None
        self.signal_number = number
        if not (first and self._patient):
            raise Stopped(number)

    @contextmanager
    def noted_only(self) -> Iterator[None]:
        """Within this block the first signal is only noted; who runs the block looks at `signal_number`."""
        self._patient += 1
        try:
            yield
        finally:
            self._patient -= 1


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a `StopRequest` within this block; a no-op beside the main thread."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
