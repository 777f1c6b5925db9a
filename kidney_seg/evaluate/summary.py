"""Rows of scores put together: Table 1 with intervals, every column, tumors found by size, tumors missed whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kidney_seg.evaluate.case_scores import AFTER, COLUMNS, OF_PREDICTION
from kidney_seg.metrics.lesion_detection import HIT_IOU, SIZE_CLASSES, SPECK_ML
from kidney_seg.metrics.overlap import STRUCTURES
from kidney_seg.metrics.statistics import CONFIDENCE, ratio_interval

Row = Mapping[str, Any]
Summary = dict[str, Any]


def summarize(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Return Table 1 over `all` cases and over those `where_present` (see `table1`), and every column in `columns`.

    Rows that hold scores after the rule give `postprocessed_all` and `postprocessed_where_present` as well, and their
    `postprocessed_` columns stand among the others.
    """
    stages = _stages(rows)
    tables = {
        prefix + key: table1(rows, prefix=prefix, where_present=present)
        for prefix in stages
        for key, present in (("all", False), ("where_present", True))
    }
    columns = [*COLUMNS[2:], *(AFTER + key for key in OF_PREDICTION if AFTER in stages)]
    return tables | {"columns": {key: describe(rows, key) for key in columns if all(key in row for row in rows)}}


def table1(rows: Sequence[Row], *, prefix: str = "", where_present: bool = False) -> dict[str, Summary]:
    """Summarize cases as the paper's Table 1: kidney, tumor and average, each as `describe` gives it.

    A row has `kidney_dice` and `tumor_dice` (with `prefix` before them, to choose another pair of columns).
    NaN, a structure absent in truth and prediction alike, is left out and counted in `left_out`. With
    `where_present` only the cases whose truth holds the structure count (`kidney_ml`, `tumor_ml` > 0), so a
    false alarm where there is no tumor, 0 in the mean over all cases, is left out too.

    The mean of "average" is the mean of the two means, as the paper's .763 is of .953 and .572; its median
    and n are of the cases' own averages, where both figures exist.
    """
    scores = {name: np.array([_score(row, name, prefix, where_present) for row in rows], float) for name in STRUCTURES}
    groups = _groups(rows)
    summary = {name: _describe([values], groups) for name, values in scores.items()}
    return summary | {"average": _describe(list(scores.values()), groups)}


def describe(rows: Sequence[Row], key: str) -> Summary:
    """Return mean, median, n and left_out (NaN) of a column, and the 95 % interval of its mean, `low` and `high`.

    The interval is of patients (`intervals.ratio_interval`): cases of one patient are drawn together. Figures over
    nothing, and intervals of fewer than two patients, are NaN.
    """
    return _describe([np.array([_number(row[key]) for row in rows], float)], _groups(rows))


def detection(rows: Sequence[Row], lesions: Sequence[Row], prefix: str = "") -> Summary:
    """Return how many tumors were found by size, and the false ones.

    `sizes`: a row for each of `SIZE_CLASSES` and one for "all", with `n`, `found`, `sensitivity` and its 95 % interval
    (Wilson's, over tumors; NaN for none). `false_tumors`: their number; `false_per_patient` with `low` and
    `high`, by bootstrap. `prefix` chooses the figures after the rule.
    """
    from scipy.stats import binomtest

    sizes = []
    for name in (*SIZE_CLASSES, "all"):
        found = [bool(lesion[f"{prefix}found"]) for lesion in lesions if name in ("all", lesion["size_class"])]
        figures = {"size_class": name, "n": len(found), "found": sum(found)}
        figures |= {"sensitivity": math.nan, "low": math.nan, "high": math.nan}
        if found:
            tested = binomtest(sum(found), len(found))
            interval = tested.proportion_ci(CONFIDENCE, method="wilson")
            figures |= {"sensitivity": tested.statistic, "low": interval.low, "high": interval.high}
        sizes.append(figures)
    groups = _groups(rows)
    false = np.bincount(groups, [row[f"{prefix}false_tumors"] for row in rows]) if rows else np.zeros(0)
    low, high = ratio_interval([false], [np.ones_like(false)])
    return {
        "found_means": f"intersection over union of at least {HIT_IOU:g}; objects below {SPECK_ML:g} mL do not count",
        "sizes": sizes,
        "false_tumors": int(false.sum()),
        "false_per_patient": float(false.mean()) if len(false) else math.nan,
        "low": low,
        "high": high,
    }


def detections(rows: Sequence[Row], lesions: Sequence[Row]) -> dict[str, Summary]:
    """Return {"detection": ...} and, where the rows have scores after the rule, "postprocessed_detection"."""
    return {f"{prefix}detection": detection(rows, lesions, prefix) for prefix in _stages(rows)}


def zero_tumor_dice(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the cases whose true tumor the prediction does not touch at all, before (and after) the rule."""
    return {
        f"{prefix}zero_tumor_dice": [
            row["case"] for row in rows if row["tumor_ml"] > 0 and row[f"{prefix}tumor_dice"] == 0
        ]
        for prefix in _stages(rows)
    }


def _stages(rows: Sequence[Row]) -> tuple[str, ...]:
    return ("", AFTER) if rows and AFTER + "kidney_dice" in rows[0] else ("",)


def _score(row: Row, name: str, prefix: str, where_present: bool) -> float:
    absent = where_present and not row[f"{name}_ml"] > 0
    return math.nan if absent else _number(row[f"{prefix}{name}_dice"])


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)  # None: NaN that went through JSON


def _groups(rows: Sequence[Row]) -> np.ndarray:
    """Return the number of each row's patient, int [rows], from 0."""
    return np.unique([row["patient"] for row in rows], return_inverse=True)[1] if rows else np.zeros(0, int)


def _describe(columns: Sequence[np.ndarray], groups: np.ndarray) -> Summary:
    """Describe one figure, or the average of several: float [cases] each, with the patient of each case."""
    known = [~np.isnan(column) for column in columns]
    if not all(mask.any() for mask in known):
        nothing = dict.fromkeys(("mean", "median"), math.nan) | {"n": 0, "left_out": len(groups)}
        return nothing | {"low": math.nan, "high": math.nan}
    each = np.mean(columns, axis=0)
    each = each[~np.isnan(each)]
    held = np.any(known, axis=0)
    patients = np.unique(groups[held], return_inverse=True)[1]
    sums = [np.bincount(patients, np.nan_to_num(column[held])) for column in columns]
    counts = [np.bincount(patients, mask[held]) for mask in known]
    low, high = ratio_interval(sums, counts)
    return {
        "mean": float(np.mean([np.mean(column[mask]) for column, mask in zip(columns, known, strict=True)])),
        "median": float(np.median(each)) if each.size else math.nan,
        "n": int(each.size),
        "left_out": int(len(groups) - each.size),
        "low": low,
        "high": high,
    }
