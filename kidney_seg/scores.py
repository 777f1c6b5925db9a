"""Scores of cases: one row a case, summaries, the CSV and JSON that keep them, and Table 1 as text."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.command import InputError
from data_prep.files import read_json, replacing, write_json
from data_prep.kits import patient_of
from kidney_seg.metrics import cysts_to_kidney, kits19_dice, table1, volume_ml

COLUMNS = (  # of the CSV and of a row; "kidney" is the kidney with its tumors, what its Dice is measured on
    "case",
    "patient",
    "kidney_dice",
    "tumor_dice",
    "kidney_ml",
    "tumor_ml",
    "predicted_kidney_ml",
    "predicted_tumor_ml",
)
AFTER = "postprocessed_"  # before the names of the columns that hold scores after the rule


def score_pair(truth_labels: np.ndarray, predicted_labels: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, float]:
    """Return the scores of one case: `kidney_dice`, `tumor_dice` and the four volumes of `COLUMNS` in mL.

    Both label maps [z, y, x] lie on one grid of `spacing_mm`; cysts (3, KiTS21 and 23) count as kidney in
    both. Dice is NaN where both maps lack the structure. ValueError where the shapes differ.
    """
    truth, predicted = cysts_to_kidney(truth_labels), cysts_to_kidney(predicted_labels)
    dice = kits19_dice(truth, predicted)
    return {
        "kidney_dice": dice["kidney"],
        "tumor_dice": dice["tumor"],
        "kidney_ml": volume_ml(truth > 0, spacing_mm),
        "tumor_ml": volume_ml(truth > 1, spacing_mm),
        "predicted_kidney_ml": volume_ml(predicted > 0, spacing_mm),
        "predicted_tumor_ml": volume_ml(predicted > 1, spacing_mm),
    }


def score_case(
    case: str,
    truth_labels: np.ndarray,
    predicted_labels: np.ndarray,
    spacing_mm: Sequence[float],
    cleaned_labels: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the row of one case: its name, its patient and `score_pair`; arrays as there.

    `cleaned_labels`, the prediction after post-processing, adds its scores and volumes under `postprocessed_` names.
    """
    row = {"case": case, "patient": patient_of(case), **score_pair(truth_labels, predicted_labels, spacing_mm)}
    if cleaned_labels is not None:
        after = score_pair(truth_labels, cleaned_labels, spacing_mm)
        for key in ("kidney_dice", "tumor_dice", "predicted_kidney_ml", "predicted_tumor_ml"):
            row[AFTER + key] = after[key]
    return row


def summarize(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return Table 1 over `all` cases and over those `where_present` (see `metrics.table1`).

    Rows that hold scores after the rule give `postprocessed_all` and `postprocessed_where_present` as well.
    """
    after = bool(rows) and AFTER + "kidney_dice" in rows[0]
    return {
        prefix + key: table1(rows, prefix=prefix, where_present=present)
        for prefix in ("", AFTER)[: 1 + after]
        for key, present in (("all", False), ("where_present", True))
    }


def write_scores(
    rows: Sequence[Mapping[str, Any]],
    out: str | Path,
    details: Mapping[str, Any] | None = None,
    force: bool = False,
) -> list[Path]:
    """Write `cases.csv` and `scores.json` (summary, `details`, cases) into the folder `out`; return both.

    A row has `COLUMNS`; further columns follow in the order of the first row. NaN is an empty field in the
    CSV (which has six decimals) and null in the JSON. InputError where `out` holds other scores already,
    unless `force`; the very same are no conflict.
    """
    table, report = Path(out) / "cases.csv", Path(out) / "scores.json"
    columns = list(dict.fromkeys([*COLUMNS, *(rows[0] if rows else ())]))
    content = {"schema": 1, "summary": summarize(rows), **(details or {}), "cases": list(rows)}
    content = _without_nan(content)
    if report.exists() and not force and read_json(report, "file of scores") != content:
        raise InputError(f"{report}: holds other scores already; choose another --out, or replace them with --force")
    with replacing(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in content["cases"]:
            writer.writerow({key: round(x, 6) if isinstance(x, float) else x for key, x in row.items()})
    write_json(report, content)
    return [table, report]


def format_table1(
    summary: Mapping[str, Mapping[str, float]],
    title: str,
    after: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """Return a summary of `metrics.table1` as lines for the screen; `after` adds columns after the rule.

    A figure over no case is printed as "-"; cases that a mean leaves out are counted beside it.
    """
    columns = [summary] if after is None else [summary, after]
    lines = [title]
    if after is not None:
        lines.append(f"{'':9}{'as predicted':<23}{'after the rule':<23}".rstrip())
    lines.append("Dice     " + "  ".join(f"{'mean':>7}{'median':>8}{'n':>6}" for _ in columns))
    for name in summary:
        cells = [
            f"{_figure(column[name]['mean']):>7}{_figure(column[name]['median']):>8}{column[name]['n']:>6}"
            for column in columns
        ]
        left_out = summary[name]["left_out"]
        note = f"   ({left_out} left out)" if left_out else ""
        lines.append(f"{name.capitalize():9}" + "  ".join(cells) + note)
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"  # None: NaN that went through JSON


def _without_nan(content: Any) -> Any:
    """Return a copy as JSON would give it back: NaN is None, tuples are lists, paths are text."""
    if isinstance(content, Mapping):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_nan(value) for value in content]
    if isinstance(content, float) and math.isnan(content):
        return None
    return str(content) if isinstance(content, Path) else content
