"""Two sets of scores of the same cases, paired by patient: difference, interval, permutation test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import InputError
from data_prep.files.json_files import read_json
from kidney_seg.evaluate.case_scores import AFTER, OF_PREDICTION
from kidney_seg.metrics.statistics import by_patient, mean_interval, paired, permutation_p

Row = Mapping[str, Any]
SAME_ML = 1e-3  # true volumes of a case in two files of scores may differ by this share: rounding of spacings


def where_present(rows: Sequence[Row], key: str) -> list[Row]:
    """Return the rows whose truth holds the structure that a column is about (tumor and masses: the tumor).

    With these only, every figure exists in every prediction, so that two of them are compared on the same cases. False
    alarms in the other cases are for columns of their own. All rows for `false_tumors`.
    """
    if key.endswith("false_tumors"):
        return list(rows)
    structure = "tumor_ml" if "tumor" in key or "masses" in key else "kidney_ml"
    return [row for row in rows if row[structure] > 0]


def compare_rows(rows: Sequence[Row], others: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a dict for every figure that both sets of rows have: `rows` against `others`, by patient.

    {"figure", "patients", "mean", "other_mean", "difference" (mean - other_mean), "low", "high", "p"}: over the
    patients whose truth holds the structure (`where_present`), a patient's cases averaged; 95 % bootstrap interval
    and two-sided p of the permutation test of the paired differences. Figures over no patient are left out. InputError
    where they share no case, or a shared case has other true volumes.
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
    for key in (prefix + key for prefix in ("", AFTER) for key in OF_PREDICTION):
        if not (key in pairs[0][0] and key in pairs[0][1]) or "predicted" in key:
            continue
        first = by_patient(where_present([other for _, other in pairs], key), key)
        second = by_patient(where_present([row for row, _ in pairs], key), key)
        differences = paired(first, second)
        if not differences:
            continue
        low, high = mean_interval(differences)
        shared = sorted(set(first) & set(second))
        made.append(
            {
                "figure": key,
                "patients": len(differences),
                "mean": float(np.mean([second[patient] for patient in shared])),
                "other_mean": float(np.mean([first[patient] for patient in shared])),
                "difference": float(np.mean(differences)),
                "low": low,
                "high": high,
                "p": permutation_p(differences),
            }
        )
    return made


def format_comparison(compared: Sequence[Row], other: str) -> str:
    """Return `compare_rows` as lines for the screen; `other` names what was compared with."""
    width = max(len(row["figure"]) for row in compared)
    lines = [
        f"Against {other}, by patient, where the truth holds the structure",
        f"{'':{width}} patients     here    there  difference [95 % interval]         p",
    ]
    for row in compared:
        interval = "" if math.isnan(row["low"]) else f"[{row['low']:+.3f}, {row['high']:+.3f}]"
        lines.append(
            f"{row['figure']:{width}} {row['patients']:8d} {row['mean']:8.3f} {row['other_mean']:8.3f}  "
            f"{row['difference']:+10.3f} {interval:20} {row['p']:6.4f}"
        )
    return "\n".join(lines)


def find_scores(path: str | Path) -> Path | None:
    """Return the `scores.json` that a path is or holds; None for a folder without, such as one of predictions."""
    path = Path(path)
    if path.is_file():
        return path if path.suffix == ".json" else None
    return path / "scores.json" if (path / "scores.json").is_file() else None


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Return the cases of a `scores.json`. InputError where it is none."""
    content = read_json(path, "file of scores")
    rows = content.get("cases") if isinstance(content, dict) else None
    needed = ("case", "patient", "kidney_ml", "tumor_ml")
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and all(key in row for key in needed) for row in rows
    ):
        raise InputError(
            f"{path}: is no file of scores (no list of cases); expected a scores.json of evaluate or of a run"
        )
    return rows
