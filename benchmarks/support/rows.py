"""Results of a benchmark: rows of one table, and two tables side by side."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.support.arms import Timing, spread

NOISY = 0.10  # half the distance between quartiles, as a share of the median, from which a figure is marked
MARK = "~"
HEADS = ("", "median", "unit", "spread", "memory", "ratio", "to", "goal")


@dataclass(frozen=True)
class Row:
    """One result. `spread` and `ratio_spread`: half the distance between the quartiles as a share of the median.

    `ratio`: how many times as fast (or as much) as the row named `yardstick`, measured in the same turns, or a share
    that the row's name describes. `goal`: of `ratio` if there is one, else of `median`: `>= 1.5` or `<= 0.5`, or empty.
    """

    name: str
    median: float
    unit: str
    spread: float = 0.0
    peak_mb: float | None = None
    ratio: float | None = None
    ratio_spread: float = 0.0
    yardstick: str = ""
    goal: str = ""

    @property
    def noisy(self) -> bool:
        """Return whether the ratio, or without one the median, varied too much."""
        return (self.spread if self.ratio is None else self.ratio_spread) > NOISY

    @property
    def reached(self) -> bool | None:
        """Return whether the goal was reached; None without one."""
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        value = self.median if self.ratio is None else self.ratio
        return value >= float(bound) if sign == ">=" else value <= float(bound)


def speed_row(
    name: str,
    timing: Timing,
    work: float,
    unit: str,
    *,
    yardstick: tuple[str, Timing, float] | None = None,
    goal: str = "",
) -> Row:
    """Return the row of a speed: `work` units per second, compared with a `yardstick` (name, timing, work)."""
    ratios = None
    if yardstick is not None:
        _, other, other_work = yardstick
        pairs = zip(timing.seconds, other.seconds, strict=True)
        ratios = [(work / mine) / (other_work / theirs) for mine, theirs in pairs]
    return _row(name, work / timing.median, unit, timing, ratios, yardstick[0] if yardstick else "", goal)


def time_row(
    name: str, timing: Timing, *, yardstick: tuple[str, Timing] | None = None, work: float = 1.0, goal: str = ""
) -> Row:
    """Return the row of a time in seconds, compared with a `yardstick` (name, timing) that does 1 / `work` as much."""
    ratios = None
    if yardstick is not None:
        pairs = zip(timing.seconds, yardstick[1].seconds, strict=True)
        ratios = [mine / theirs / work for mine, theirs in pairs]
    return _row(name, timing.median, "s", timing, ratios, yardstick[0] if yardstick else "", goal)


def _row(
    name: str, median: float, unit: str, timing: Timing, ratios: list[float] | None, yardstick: str, goal: str
) -> Row:
    ratio = (statistics.median(ratios), spread(ratios), yardstick) if ratios else ()
    return Row(name, median, unit, spread(timing.seconds), timing.peak_mb, *ratio, goal=goal)


def table(rows: Iterable[Row]) -> str:
    """Return the rows as text."""
    lines = [HEADS]
    for row in rows:
        ratio = "" if row.ratio is None else f"{MARK if row.noisy else ''}{row.ratio:.2f}"
        median = f"{MARK if row.noisy and row.ratio is None else ''}{_figure(row.median)}"
        memory = "" if row.peak_mb is None else f"{row.peak_mb:.0f} MB"
        goal = f"{row.goal} {'yes' if row.reached else 'NO'}" if row.goal else ""
        lines.append((row.name, median, row.unit, f"{100 * row.spread:.0f} %", memory, ratio, row.yardstick, goal))
    return _columns(lines)


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a table of a page: median, spread, memory and ratio, without columns that no row fills.

    >>> print(markdown([Row("a", 2.0, "s"), Row("b", 8.0, "s", ratio=4.0, yardstick="a")]))
    | | median | ratio |
    |---|---|---|
    | a | 2 s | |
    | b | 8 s | 4.00 of a |
    """
    cells = {
        "": [row.name for row in rows],
        "median": [f"{_figure(row.median)} {row.unit}" for row in rows],
        "spread": [f"{100 * row.spread:.0f} %" if row.spread else "" for row in rows],
        "memory": ["" if row.peak_mb is None else f"{row.peak_mb:,.0f} MB" for row in rows],
        "ratio": ["" if row.ratio is None else f"{row.ratio:.2f} of {row.yardstick}" for row in rows],
    }
    filled = {head: column for head, column in cells.items() if any(column)}
    lines = [tuple(filled), *zip(*filled.values(), strict=True)]
    texts = ["".join(f"| {cell} " if cell else "| " for cell in line) + "|" for line in lines]
    return "\n".join([texts[0], "|---" * len(filled) + "|", *texts[1:]])


def compared(old: Sequence[Row], new: Sequence[Row]) -> str:
    """Return two runs side by side: medians, their ratio, and both ratios to the yardstick.

    If the machine was busy in one of the runs, only the ratios to the yardstick compare.
    """
    before = {row.name: row for row in old}
    after = {row.name: row for row in new}
    lines: list[tuple[str, ...]] = [
        ("", "before", "after", "unit", "after/before", "ratio before", "ratio after", "to")
    ]
    for name in [*before, *(name for name in after if name not in before)]:
        pair = (before.get(name), after.get(name))
        either = pair[1] or pair[0]
        medians = ["-" if row is None else _figure(row.median) for row in pair]
        ratios = ["" if row is None or row.ratio is None else f"{row.ratio:.2f}" for row in pair]
        change = f"{pair[1].median / pair[0].median:.2f}" if all(pair) and pair[0].median else ""
        lines.append((name, *medians, either.unit, change, *ratios, either.yardstick))
    return _columns(lines)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _columns(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = ("  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines)
    return "\n".join(text.rstrip() for text in texts)
