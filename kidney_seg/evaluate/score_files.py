"""The files and the table of scores: cases.csv, scores.json, and Table 1 as text."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.atomic import replacing
from data_prep.files.json_files import read_json, write_json
from kidney_seg.evaluate.case_scores import COLUMNS, LESIONS
from kidney_seg.evaluate.summary import detections, summarize, zero_tumor_dice

SCHEMA = 2  # of scores.json; docs/howto/scores.md tells what is in it


def scores_of(rows: Sequence[Mapping[str, Any]], details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the content of `scores.json` for rows of `case_scores.score_case`; see docs/howto/scores.md.

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


def without_nan(content: Any) -> Any:
    """Return a copy as JSON would give it back: NaN is None, tuples are lists, paths are text."""
    if isinstance(content, Mapping):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_nan(value) for value in content]
    if isinstance(content, float) and math.isnan(content):
        return None
    return str(content) if isinstance(content, Path) else content
