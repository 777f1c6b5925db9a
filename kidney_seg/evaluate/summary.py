"""Summary of the rows of all cases: Table 1 with intervals, every column, detection by size, missed tumors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kidney_seg.evaluate.case_scores import COLUMNS, OF_PREDICTION, POSTPROCESSED
from kidney_seg.metrics.lesion_detection import HIT_IOU, SIZE_CLASSES, SPECK_ML
from kidney_seg.metrics.overlap import SCORED
from kidney_seg.metrics.statistics import CONFIDENCE, ratio_interval

Row = Mapping[str, Any]
Summary = dict[str, Any]


def summarize(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Return Table 1 over `all` cases and over those `where_present` (see `table1`), and every column in `columns`.

    Rows with post-processed scores also give `postprocessed_all`, `postprocessed_where_present`, and their columns.
    """
    stages = _stages(rows)
    tables = {
        prefix + key: table1(rows, prefix=prefix, where_present=present)
        for prefix in stages
        for key, present in (("all", False), ("where_present", True))
    }
    columns = [*COLUMNS[2:], *(POSTPROCESSED + key for key in OF_PREDICTION if POSTPROCESSED in stages)]
    return tables | {"columns": {key: describe(rows, key) for key in columns if all(key in row for row in rows)}}


def table1(rows: Sequence[Row], *, prefix: str = "", where_present: bool = False) -> dict[str, Summary]:
    """Summarize cases as the paper's Table 1: kidney, tumor and average, each as `describe` gives it.

    The mean of "average" is the mean of the two means, as the paper's .763 is of .953 and .572; its median and n are of
    the cases' own averages, if both scores exist.

    Rows have `kidney_dice` and `tumor_dice`, after the `prefix`; NaN, a structure absent in truth and prediction, is
    left out. `where_present` takes only cases whose truth holds the structure (`kidney_ml`, `tumor_ml` > 0), and so no
    false alarms, which are 0 in the mean over all cases.
    """
    scores = {}
    for name in SCORED:
        counted = [not where_present or row[f"{name}_ml"] > 0 for row in rows]
        scores[name] = _column(
            row[f"{prefix}{name}_dice"] if ok else None for row, ok in zip(rows, counted, strict=True)
        )
    groups = _groups(rows)
    summary = {name: _describe([values], groups) for name, values in scores.items()}
    return summary | {"average": _describe(list(scores.values()), groups)}


def describe(rows: Sequence[Row], key: str) -> Summary:
    """Return mean, median, n and left_out (NaN) of a column, and the 95 % interval of its mean, `low` and `high`.

    The interval is over patients (`statistics.ratio_interval`): cases of one patient are resampled together. Without a
    value all are NaN, and so is the interval of fewer than two patients.
    """
    return _describe([_column(row[key] for row in rows)], _groups(rows))


def detection(rows: Sequence[Row], lesions: Sequence[Row], prefix: str = "") -> Summary:
    """Return how many tumors were found by size, and the number of false ones.

    `sizes`: the rows of `detection_rate`. `false_tumors`: their number; `false_per_patient` with `low` and `high`, by
    bootstrap. `prefix` chooses post-processed scores.
    """
    sizes = detection_rate([(lesion["size_class"], bool(lesion[f"{prefix}found"])) for lesion in lesions])
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


def detection_rate(lesions: Sequence[tuple[str, bool]]) -> list[Summary]:
    """Return one row per size class, and one for "all", of tumors given as (size class, found).

    Rows have `size_class`, `n`, `found`, `sensitivity` and Wilson's 95 % interval `low`, `high`; NaN for no tumor.
    """
    from scipy.stats import binomtest

    sizes: list[Summary] = []
    for name in (*SIZE_CLASSES, "all"):
        found = [hit for size, hit in lesions if name in ("all", size)]
        row = {"size_class": name, "n": len(found), "found": sum(found), "sensitivity": math.nan}
        sizes.append(row | {"low": math.nan, "high": math.nan})
        if found:
            tested = binomtest(sum(found), len(found))
            interval = tested.proportion_ci(CONFIDENCE, method="wilson")
            sizes[-1] |= {"sensitivity": tested.statistic, "low": interval.low, "high": interval.high}
    return sizes


def detections(rows: Sequence[Row], lesions: Sequence[Row]) -> dict[str, Summary]:
    """Return {"detection": ...} and, if the rows have post-processed scores, "postprocessed_detection"."""
    return {f"{prefix}detection": detection(rows, lesions, prefix) for prefix in _stages(rows)}


def zero_tumor_dice(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the cases whose true tumor the prediction does not touch, as predicted and post-processed."""
    return {
        f"{prefix}zero_tumor_dice": [
            row["case"] for row in rows if row["tumor_ml"] > 0 and row[f"{prefix}tumor_dice"] == 0
        ]
        for prefix in _stages(rows)
    }


def _stages(rows: Sequence[Row]) -> tuple[str, ...]:
    return ("", POSTPROCESSED) if rows and POSTPROCESSED + "kidney_dice" in rows[0] else ("",)


def _column(values: Iterable[float | None]) -> np.ndarray:
    return np.array(list(values), float)  # numpy turns None, which JSON has for NaN, into NaN


def _groups(rows: Sequence[Row]) -> np.ndarray:
    """Return the number of each row's patient, int [rows], from 0."""
    return np.unique([row["patient"] for row in rows], return_inverse=True)[1] if rows else np.zeros(0, int)


def _describe(columns: Sequence[np.ndarray], groups: np.ndarray) -> Summary:
    """Describe one score, or the average of several: float [cases] each, with the patient of each case."""
    known = [~np.isnan(column) for column in columns]
    if not all(mask.any() for mask in known):
        return dict.fromkeys(("mean", "median", "low", "high"), math.nan) | {"n": 0, "left_out": len(groups)}
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
