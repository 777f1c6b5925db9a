"""SIGTERM, by which batch systems end a job, treated as Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable

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
