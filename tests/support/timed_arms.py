"""Work for `benchmarks.support.arms`, done in processes that benchmarks/test_benchmarks.py starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.support.arms import Parts


def noting(path: str, name: str) -> Callable[[], Parts]:
    """Return work that notes its turns in a file, and gives how many there were."""

    def work() -> Parts:
        with open(path, "a") as file:
            file.write(f"{name} ")
        return Parts(turns=float(Path(path).read_text().count(name)))

    return work


def failing(at: int) -> Callable[[], None]:
    """Return work that fails in this turn, counted from 0."""
    turns = iter(range(at))

    def work() -> None:
        if next(turns, None) is None:
            raise ValueError("no more of this")

    return work
