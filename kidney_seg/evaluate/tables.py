"""Table 1 and the table of detected tumors, as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kidney_seg.evaluate.case_scores import AFTER
from kidney_seg.metrics.overlap import STRUCTURES


def table(result: Mapping) -> str:
    """Return Table 1 of a run's `scores.json`, before and after post-processing, as lines of text."""
    count = len({row["patient"] for row in result["cases"]})
    title = f"Table 1: Dice of {count} test patients, at the resolution of their CT"
    if result["stop_on"] == "test":
        title += "\n(the rounds were chosen on these very patients, as the paper did: the figures are optimistic)"
    summary = result["summary"]
    text = format_table1(summary["all"], title, summary[AFTER + "all"])
    present = summary["where_present"]
    if any(present[name]["n"] < len(result["cases"]) for name in STRUCTURES):
        title = "Only the cases that hold the structure (a false alarm elsewhere counts 0 above, and not here)"
        text += "\n\n" + format_table1(present, title, summary[AFTER + "where_present"])
    if "detection" in result:  # not in runs of older versions
        found = result["detection"], result[AFTER + "detection"]
        text += "\n\n" + format_detection(found[0], "Tumors found, by their largest diameter", found[1])
    return text


def format_table1(
    summary: Mapping[str, Mapping[str, float]],
    title: str,
    after: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """Return a summary of `summary.table1` as lines for the screen; `after` adds columns after the rule.

    Means stand with their 95 % intervals (none in the files of older versions). A figure over no case is printed as
    "-"; cases that a mean leaves out are counted beside it.
    """
    columns = [summary] if after is None else [summary, after]
    lines = [title]
    if after is not None:
        lines.append(f"{'':9}{'as predicted':<40}{'after the rule':<40}".rstrip())
    lines.append("Dice     " + "  ".join(f"{'mean':>7} {'[95 % interval]':16}{'median':>8}{'n':>6}" for _ in columns))
    for name in summary:
        cells = [
            f"{_figure(column[name]['mean']):>7} {_interval(column[name]):16}"
            f"{_figure(column[name]['median']):>8}{column[name]['n']:>6}"
            for column in columns
        ]
        left_out = summary[name]["left_out"]
        note = f"   ({left_out} left out)" if left_out else ""
        lines.append(f"{name.capitalize():9}" + "  ".join(cells) + note)
    return "\n".join(lines)


def format_detection(found: Mapping[str, Any], title: str, after: Mapping[str, Any] | None = None) -> str:
    """Return a `summary.detection` as lines for the screen; `after` adds columns after the rule."""
    stages = [found] if after is None else [found, after]
    lines = [title]
    if after is not None:
        lines.append(f"{'':14}{'as predicted':<42}{'after the rule':<42}".rstrip())
    head = f"{'tumors':>7}{'found':>7}{'missed':>8}  {'share':>5} {'[95 % interval]':16}"
    lines.append((f"{'diameter':12}" + "  ".join(head for _ in stages)).rstrip())
    for rows in zip(*(stage["sizes"] for stage in stages), strict=True):
        cells = [
            f"{row['n']:>7}{row['found']:>7}{row['n'] - row['found']:>8}  "
            f"{_figure(row['sensitivity']):>5} {_interval(row):16}"
            for row in rows
        ]
        lines.append((f"{rows[0]['size_class']:12}" + "  ".join(cells)).rstrip())
    for stage, when in zip(stages, ("", " after the rule"), strict=False):
        rate = f"{_figure(stage['false_per_patient'])} {_interval(stage)}".strip()
        lines.append(f"false tumors{when}: {stage['false_tumors']}, {rate} a patient")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"  # None: NaN that went through JSON


def _interval(row: Mapping[str, float | None]) -> str:
    low, high = row.get("low"), row.get("high")
    return "" if _figure(low) == "-" else f"[{_figure(low)}, {_figure(high)}]"
