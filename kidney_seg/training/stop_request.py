"""Ctrl-C and SIGTERM during training: the current batch is finished and saved, then the process ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """The process was stopped by a signal; `where` says what it was doing.

    Like KeyboardInterrupt it is no Exception: Keras makes errors of its own of these, and readers call a file damaged.
    """

    def __init__(self, signal_number: int, where: str = ""):
        super().__init__(f"stopped by {signal.Signals(signal_number).name}{where}")
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as in shells: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal_number


class StopRequest:
    """The stop signal received so far, if any."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._deferred = 0  # above 0 within `noted_only`

    def receive(self, number: int, _frame: object = None) -> None:
        """Handle a signal: raise Stopped, except for the first one within `noted_only`."""
        first = self.signal_number is None
        self.signal_number = number
        if not (first and self._deferred):
            raise Stopped(number)

    @contextmanager
    def noted_only(self) -> Iterator[None]:
        """Within this block, only record the first signal; the caller checks `signal_number`."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a `StopRequest` within this block; no effect outside the main thread."""
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
