"""Time of `--help` of every command and of importing both packages, compared with Python itself."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.support.arms import Timing
from benchmarks.support.rows import Row, time_row
from kidney_seg.__main__ import COMMANDS

WORK = "one process each: `--help` of every command, `import` of both packages; `CPU`: seconds of processor time"
ROOT = Path(__file__).resolve().parents[1]
TURNS = 9
HELP_S, IMPORT_S = 0.5, 0.3  # goals
PYTHON = "python -c pass"
_PEAK = """
import atexit, runpy, sys
from benchmarks.support.arms import memory_mb
sys.argv = sys.argv[1:]
atexit.register(lambda: print(memory_mb(), file=sys.stderr))
{}
"""


def ways() -> dict[str, tuple[list[str], str, float | None]]:
    """Return by name of the row: Python's arguments, the equivalent code, and the goal in seconds."""
    found: dict[str, tuple[list[str], str, float | None]] = {PYTHON: (["-c", "pass"], "pass", None)}
    for package in ("data_prep", "kidney_seg"):
        found[f"import {package}"] = (["-c", f"import {package}"], f"import {package}", IMPORT_S)
    for module in COMMANDS:
        code = f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
        found[f"{module} --help"] = (["-m", module, "--help"], code, HELP_S)
    return found


def start(arguments: Sequence[str]) -> tuple[float, float]:
    """Run Python with these arguments; return its seconds of wall clock and of processor time (all threads)."""
    before, clock = _children_seconds(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True, cwd=ROOT)
    return time.perf_counter() - clock, _children_seconds() - before


def peak_mb(code: str, arguments: Sequence[str]) -> float:
    """Return the peak memory in MB of a process that runs the code with these arguments."""
    command = [sys.executable, "-c", _PEAK.format(code), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stderr.split()[-1])


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rows(quick: bool) -> Iterator[Row]:
    """Yield the seconds of each way, and its processor time relative to that of Python itself."""
    every = ways()
    if quick:
        every = {name: every[name] for name in (PYTHON, "import data_prep", "data_prep.split --help")}
    for arguments, _, _ in every.values():
        start(arguments)  # writes bytecode, fills the system's file cache
    turns = [{name: start(way[0]) for name, way in every.items()} for _ in range(2 if quick else TURNS)]
    python = None
    for name, (arguments, code, goal_s) in every.items():
        clock, cpu = (tuple(turn[name][which] for turn in turns) for which in (0, 1))
        peak = peak_mb(code, arguments if arguments[0] == "-m" else ())
        yield time_row(name, Timing(clock, peak), goal=f"<= {goal_s}" if goal_s else "")
        python = python or Timing(cpu, peak)
        yardstick = None if name == PYTHON else (f"{PYTHON}, CPU", python)
        yield time_row(f"{name}, CPU", Timing(cpu, peak), yardstick=yardstick)
