"""Work for `benchmarks.support.arms`, in processes that benchmarks/test_benchmarks.py starts, or in its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.support.arms import Arm, Parts, Timing, timing_of
from benchmarks.support.one_arm import do, prepare


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


def in_this_process(arms: Mapping[str, Arm], turns: int, warm_up: int = 2) -> dict[str, Timing]:
    """Stand in for `in_turn`: the same work, without a process for each arm, which would load TensorFlow first."""
    works = {name: prepare(arm.target, json.loads(json.dumps(arm.arguments))) for name, arm in arms.items()}
    for work in works.values():
        for _ in range(warm_up):
            do(work)
    answers = [json.loads(json.dumps({name: do(work) for name, work in works.items()})) for _ in range(turns)]
    return {name: timing_of([answer[name] for answer in answers]) for name in arms}
