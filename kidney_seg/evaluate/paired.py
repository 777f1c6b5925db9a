"""Two sets of scores of the same cases, paired by patient: difference, interval, permutation test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import InputError
from data_prep.files.json_files import read_json
from kidney_seg.evaluate.case_scores import FIGURES, POSTPROCESSED
from kidney_seg.evaluate.score_files import check_rows
from kidney_seg.evaluate.tables import align, format_interval
from kidney_seg.metrics.missing import format_score
from kidney_seg.metrics.statistics import by_patient, paired, paired_difference, permutation_p

Row = Mapping[str, Any]
_IN_TRUTH = {figure.name: figure.in_truth for figure in FIGURES}
SAME_ML = 1e-3  # relative tolerance of a case's true volume in two files of scores: spacings are rounded


def where_present(rows: Sequence[Row], key: str) -> list[Row]:
    """Return the rows whose truth holds what a column needs (`Column.in_truth`); its name may be `POSTPROCESSED`.

    Every prediction has a score in these cases, so that two predictions are compared on the same ones.
    """
    structure = _IN_TRUTH[key.removeprefix(POSTPROCESSED)]
    return [row for row in rows if structure is None or row[f"{structure}_ml"] > 0]


def compare_rows(rows: Sequence[Row], others: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one dict per score that both sets of rows have: `rows` against `others`, paired by patient.

    Each has `figure` (the column), `patients`, `mean`, `other_mean`, `difference` (mean - other_mean), its 95 %
    bootstrap interval `low`, `high`, and `p` of the permutation test; over patients whose truth holds the structure,
    with a patient's cases averaged. Scores of no patient are left out.

    Raises:
        InputError: they share no case, or a shared case has different true volumes.
    """
    found = {row["case"]: row for row in others}
    pairs = [(row, found[row["case"]]) for row in rows if row["case"] in found]
    if not pairs:
        raise InputError("--against: has no case in common with the predictions; expected scores of the same cases")
    for row, other in pairs:
        for key in ("kidney_ml", "tumor_ml"):
            if not math.isclose(row[key], other[key], rel_tol=SAME_ML):
                raise InputError(
                    f"--against: {row['case']} has {key} {other[key]:.6g} there and {row[key]:.6g} here; "
                    "expected scores against the same truth"
                )
    made = []
    scores = [figure.name for figure in FIGURES if figure.is_score]
    for key in (prefix + name for prefix in ("", POSTPROCESSED) for name in scores):
        if not (key in pairs[0][0] and key in pairs[0][1]):
            continue
        first = by_patient(where_present([other for _, other in pairs], key), key)
        second = by_patient(where_present([row for row, _ in pairs], key), key)
        difference, low, high, patients = paired_difference(first, second)
        if not patients:
            continue
        shared = sorted(set(first) & set(second))
        made.append(
            {
                "figure": key,
                "patients": patients,
                "mean": float(np.mean([second[patient] for patient in shared])),
                "other_mean": float(np.mean([first[patient] for patient in shared])),
                "difference": difference,
                "low": low,
                "high": high,
                "p": permutation_p(paired(first, second)),
            }
        )
    return made


def format_comparison(compared: Sequence[Row], other: str) -> str:
    """Return `compare_rows` as lines of text; `other` names what was compared with."""
    head = ("", "patients", "here", "there", "difference", "[95 % interval]", "p")
    cells = [
        (
            row["figure"],
            str(row["patients"]),
            *(format_score(row[key]) for key in ("mean", "other_mean")),
            f"{row['difference']:+.3f}",
            format_interval(row, sign="+"),
            f"{row['p']:.4f}",
        )
        for row in compared
    ]
    title = f"Against {other}, by patient, where the truth holds the structure"
    return "\n".join([title, *align([head, *cells])])


def find_scores(path: str | Path) -> Path | None:
    """Return the `scores.json` that a path is or holds; None for a folder without one, such as predictions."""
    found = Path(path) if Path(path).suffix == ".json" else Path(path) / "scores.json"
    return found if found.is_file() else None


def read_rows(path: str | Path, needed: Sequence[str] = ("kidney_ml", "tumor_ml")) -> list[dict[str, Any]]:
    """Return the cases of a `scores.json`. InputError if it is none, or a case lacks a value that is `needed`."""
    content = read_json(path, "file of scores")
    try:
        check_rows(rows := content["cases"])
        if lacking := [name for row in rows for name in needed if name not in row]:
            raise KeyError(lacking[0])
    except (KeyError, TypeError, ValueError) as error:
        detail = f"is no file of scores (no list of cases: {error!r}); expected a scores.json of evaluate"
        raise InputError(detail, path=path) from None
    return rows
