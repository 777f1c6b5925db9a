"""The files of scores: cases.csv, scores.json and against.json. The columns are `case_scores.COLUMNS`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.atomic import write_file
from data_prep.files.json_files import read_json, write_json
from data_prep.files.names import table_cell
from data_prep.files.outputs import check_outputs, has_keys, has_text
from data_prep.files.typed import typed
from data_prep.origin import Origin
from kidney_seg.evaluate.case_scores import COLUMNS, LESIONS
from kidney_seg.evaluate.summary import detections, summarize, zero_tumor_dice
from kidney_seg.metrics.missing import nan_to_none

SCORES_SCHEMA = 2  # of scores.json, see docs/howto/scores.md
COMPARISON_SCHEMA = 1  # of against.json


_OURS = {
    "cases.csv": has_text(",".join(COLUMNS[:2]).encode()),
    "scores.json": has_keys("summary", "cases"),
    "against.json": has_keys("schema", "against", "figures"),
}


def check_scores(out: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Raise InputError unless scores may be written into the folder `out`, see `check_outputs`."""
    for name, ours in _OURS.items():
        check_outputs([Path(out) / name], inputs, ours)


def default_out(predictions: str | Path) -> Path:
    """Return the default folder for the scores of a folder of predictions, or of one file."""
    predictions = Path(predictions)
    return (predictions.parent if predictions.is_file() else predictions) / "evaluation"


def scores_of(rows: Sequence[Mapping[str, Any]], details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the content of `scores.json` for rows of `case_scores.score_case`; `details` are added to it.

    The rows' `LESIONS` go into a list of their own.
    """
    lesions = [lesion for row in rows for lesion in row[LESIONS]]
    rows = [{key: value for key, value in row.items() if key != LESIONS} for row in rows]
    return {
        "schema": SCORES_SCHEMA,
        "summary": summarize(rows),
        **detections(rows, lesions),
        **zero_tumor_dice(rows),
        **(details or {}),
        "lesions": lesions,
        "cases": rows,
    }


def write_scores(
    rows: Sequence[Mapping[str, Any]], out: str | Path, details: Mapping[str, Any] | None = None, force: bool = False
) -> list[Path]:
    """Write `cases.csv` and `scores.json` (see `scores_of`) into the folder `out`; return both paths.

    The CSV has `COLUMNS`, then further ones in the order of the first row; floats have six decimals. NaN is an empty
    field there and null in the JSON. InputError if `out` holds different scores, unless `force`.
    """
    check_scores(out)
    table, report = Path(out) / "cases.csv", Path(out) / "scores.json"
    content = nan_to_none(scores_of(rows, details))
    _refuse_other(report, content, force)
    rows = content["cases"]
    columns = list(dict.fromkeys([*COLUMNS, *(rows[0] if rows else ())]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: round(x, 6) if isinstance(x, float) else table_cell(x) for key, x in row.items()})
    write_file(table, text.getvalue().encode())
    write_json(report, content)
    return [table, report]


def read_scores(path: str | Path, what: str = "file of scores") -> dict[str, Any]:
    """Return the content of a `scores.json` of any version. InputError if it is none, or a value has a wrong type."""
    content = read_json(path, what)
    try:
        check_rows(content["cases"])
        typed(dict[str, dict[str, dict[str, float | None]]], content["summary"], "summary")
        for name in (name for name in content if name.endswith("detection")):
            sizes = typed(list[dict[str, Any]], typed(dict[str, Any], content[name], name)["sizes"], f"{name}.sizes")
            for row in sizes:
                typed(str, row["size_class"], "size_class")
                typed(dict[str, float | None], {key: row[key] for key in row if key != "size_class"}, f"{name}.sizes")
        typed(dict[str, Any], content.get("best", {}), "best")
        typed(str | None, content.get("failed"), "failed")
        typed(dict[str, float | None], content.get("ceiling", {}), "ceiling")
        for name in ("origin", "cohort"):
            typed(Origin, content.get(name, {}), name)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a {what} ({error!r}); score the predictions again", path) from None
    return content


def check_rows(rows: Any) -> None:
    """Raise KeyError or ValueError unless `rows` is a list of cases with names and numbers, as in a `scores.json`."""
    for row in typed(list[dict[str, Any]], rows, "cases"):
        typed(list[str], [row["case"], row["patient"]], "case and patient")
        numbers = {name: value for name, value in row.items() if name not in ("case", "patient")}
        typed(dict[str, float | None], numbers, "case")


def write_comparison(compared: Sequence[Mapping[str, Any]], other: str, out: str | Path, force: bool = False) -> Path:
    """Write `paired.compare_rows`, and what was compared with, as `against.json` into the folder `out`; return it.

    InputError if it holds another comparison, unless `force`.
    """
    path = Path(out) / "against.json"
    content = nan_to_none({"schema": COMPARISON_SCHEMA, "against": other, "figures": compared})
    _refuse_other(path, content, force)
    write_json(path, content)
    return path


def _refuse_other(path: Path, content: Any, force: bool) -> None:
    if path.exists() and not force and read_json(path, "file of scores") != content:
        raise InputError("exists with different scores; choose another --out, or replace it with --force", path=path)
