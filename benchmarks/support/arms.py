"""Time the same work done in several ways, each in its own process (`benchmarks.support.one_arm`), in turns.

Threads, memory and kernel caches of one way cannot affect another, and a change of the machine's load affects all:
ratios within a turn hold even if seconds do not.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Arm:
    """One way: `target`, a MODULE:FUNCTION, with its arguments and environment variables."""

    target: str
    arguments: dict = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


class Parts(dict[str, float]):
    """Measurements by the work itself, by name: seconds of its parts, memory, shares."""


@dataclass(frozen=True)
class Timing:
    """Seconds per turn, peak memory of the process in MB, and per turn the measurements by the work itself."""

    seconds: tuple[float, ...]
    peak_mb: float
    parts: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Return the median in seconds."""
        return statistics.median(self.seconds)

    def part(self, name: str) -> Timing:
        """Return the timing of a part that is measured in seconds."""
        return Timing(self.parts[name], self.peak_mb)


def spread(values: tuple[float, ...] | list[float]) -> float:
    """Return half the distance between the quartiles as a share of the median; 0 for a single value.

    >>> spread([8.0, 10.0, 12.0])
    0.1
    """
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2 / middle


def in_turn(arms: Mapping[str, Arm], turns: int, warm_up: int = 2) -> dict[str, Timing]:
    """Return the timing of each arm: all are warmed up first, then run `turns` times in turn.

    RuntimeError with the last line that an arm's process wrote, if it ended.
    """
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_Worker(name, arm)) for name, arm in arms.items()}
        for worker in workers.values():
            for _ in range(warm_up):
                worker.ask()
        answers = [{name: worker.ask() for name, worker in workers.items()} for _ in range(turns)]
    return {name: timing_of([answer[name] for answer in answers]) for name in arms}


def timing_of(answers: list[dict]) -> Timing:
    """Return the timing of an arm from what its work answered, turn by turn."""
    parts = {part: tuple(answer["parts"][part] for answer in answers) for part in answers[0]["parts"]}
    peak_mb = max(answer["peak_mb"] for answer in answers)
    return Timing(tuple(answer["seconds"] for answer in answers), peak_mb, parts)


class _Worker:
    def __init__(self, name: str, arm: Arm):
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.support.one_arm", arm.target, json.dumps(arm.arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **arm.environment},
        )

    def __enter__(self) -> _Worker:
        return self

    def ask(self) -> dict:
        """Do the work once; return seconds, the parts that it measured, and the peak memory so far."""
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            said = self.process.stderr.read().strip().splitlines() or [f"ended with {self.process.wait()}"]
            raise RuntimeError(f"{self.name}: {said[-1]}")
        return json.loads(line)

    def __exit__(self, *exception) -> None:
        self.process.kill() if exception[0] else self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def memory_mb(name: str = "VmHWM") -> float:
    """Return this process's peak memory (`VmHWM`) or current memory (`VmRSS`) in MB (Linux).

    getrusage would also count the process that started it.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e6
