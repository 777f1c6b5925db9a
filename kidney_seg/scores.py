"""The files and the table of scores: cases.csv, scores.json, and Table 1 as text."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.command import InputError
from data_prep.files import read_json, replacing, write_json
from kidney_seg.case_scores import AFTER, COLUMNS, LESIONS, score_case, score_pair
from kidney_seg.summary import detections, summarize, zero_tumor_dice

__all__ = [
    "AFTER",
    "COLUMNS",
    "format_detection",
    "format_table1",
    "score_case",
    "score_pair",
    "summarize",
    "write_scores",
]

SCHEMA = 2  # of scores.json; docs/scores.md tells what is in it


def scores_of(rows: Sequence[Mapping[str, Any]], details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the content of `scores.json` for rows of `case_scores.score_case`; docs/scores.md tells what is in it.

    The rows' `LESIONS` go into a list of their own; `details` join.
    """
    lesions = [lesion for row in rows for lesion in row[LESIONS]]
    rows = [{key: value for key, value in row.items() if key != LESIONS} for row in rows]
    return {
        "schema": SCHEMA,
        "summary": summarize(rows),
        **detections(rows, lesions),
        **zero_tumor_dice(rows),
        **(details or {}),
        "lesions": lesions,
        "cases": rows,
    }


def write_scores(
    rows: Sequence[Mapping[str, Any]],
    out: str | Path,
    details: Mapping[str, Any] | None = None,
    force: bool = False,
) -> list[Path]:
    """Write `cases.csv` and `scores.json` (see `scores_of`) into the folder `out`; return both.

    The CSV has `COLUMNS` and further ones in the order of the first row. NaN is an empty field there (it has six
    decimals) and null in the JSON. InputError where `out` holds other scores already, unless `force`; the very same
    are no conflict.
    """
    table, report = Path(out) / "cases.csv", Path(out) / "scores.json"
    content = without_nan(scores_of(rows, details))
    _refuse_other(report, content, force)
    rows = content["cases"]
    columns = list(dict.fromkeys([*COLUMNS, *(rows[0] if rows else ())]))
    with replacing(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: round(x, 6) if isinstance(x, float) else x for key, x in row.items()})
    write_json(report, content)
    return [table, report]


def write_comparison(compared: Sequence[Mapping[str, Any]], other: str, out: str | Path, force: bool = False) -> Path:
    """Write `against.json` (`against.compare_rows`, and what was compared with) into the folder `out`; return it.

    InputError where it holds another comparison already, unless `force`.
    """
    path = Path(out) / "against.json"
    content = without_nan({"schema": 1, "against": other, "figures": compared})
    _refuse_other(path, content, force)
    write_json(path, content)
    return path


def _refuse_other(path: Path, content: Any, force: bool) -> None:
    if path.exists() and not force and read_json(path, "file of scores") != content:
        raise InputError(f"{path}: holds other scores already; choose another --out, or replace them with --force")


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


def without_nan(content: Any) -> Any:
    """Return a copy as JSON would give it back: NaN is None, tuples are lists, paths are text."""
    if isinstance(content, Mapping):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_nan(value) for value in content]
    if isinstance(content, float) and math.isnan(content):
        return None
    return str(content) if isinstance(content, Path) else content
