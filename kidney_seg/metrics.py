"""Volumetric Dice as KiTS19 scores it, and Table 1 over cases. Numpy in, numbers out; no files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

STRUCTURES = ("kidney", "tumor")  # the rows of Table 1; "kidney" is the kidney with its masses, label > 0


def dice(truth_mask: np.ndarray, predicted_mask: np.ndarray) -> float:
    """Return 2 |A and B| / (|A| + |B|) of two boolean masks of the same shape.

    NaN where both are empty (there was nothing to find; means leave it out), 0 where only one is.
    ValueError where the shapes differ.

    >>> dice(np.array([1, 1, 0], bool), np.array([0, 1, 1], bool))
    0.5
    """
    truth_mask, predicted_mask = np.asarray(truth_mask, bool), np.asarray(predicted_mask, bool)
    if truth_mask.shape != predicted_mask.shape:  # numpy would broadcast some of these without a word
        raise ValueError(
            f"truth has shape {truth_mask.shape}, prediction {predicted_mask.shape}; they must be the same"
        )
    total = int(np.count_nonzero(truth_mask)) + int(np.count_nonzero(predicted_mask))
    if total == 0:
        return math.nan
    return 2 * int(np.count_nonzero(truth_mask & predicted_mask)) / total


def cysts_to_kidney(labels: np.ndarray) -> np.ndarray:
    """Return the labels with cyst (3, as KiTS21 and KiTS23 have it) turned into kidney (1).

    KiTS19 has no label for cysts: they are part of its kidney. Map KiTS23 labels so before `kits19_dice`,
    whose "> 1" would otherwise count cysts as tumor. The very same array where it holds no cyst, else a copy.
    """
    labels = np.asarray(labels)
    cyst = labels == 3
    return np.where(cyst, labels.dtype.type(1), labels) if cyst.any() else labels


def kits19_dice(truth_labels: np.ndarray, predicted_labels: np.ndarray) -> dict[str, float]:
    """Return {"kidney": Dice of label > 0, "tumor": Dice of label > 1} of two label maps of the same shape.

    This is the rule of KiTS19's own evaluation (neheller/kits19), at the voxels given, to the letter: any
    label above 1 is tumor, 3 included. Labels of KiTS21 or KiTS23 go through `cysts_to_kidney` first
    (`evaluate.score_pair` does it). Where truth and prediction are both empty the official code divides by
    zero and gives NaN with a warning; here it is NaN too. ValueError where the shapes differ.
    """
    truth_labels, predicted_labels = np.asarray(truth_labels), np.asarray(predicted_labels)
    return {
        "kidney": dice(truth_labels > 0, predicted_labels > 0),
        "tumor": dice(truth_labels > 1, predicted_labels > 1),
    }


def volume_ml(mask: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Return the volume of a boolean mask in mL (1000 mm3); 0 where it is empty.

    >>> volume_ml(np.ones((2, 10, 10), bool), (5.0, 1.0, 1.0))
    1.0
    """
    return int(np.count_nonzero(mask)) * math.prod(float(mm) for mm in spacing_mm) / 1000.0


def table1(
    rows: Sequence[Mapping[str, float]], *, prefix: str = "", where_present: bool = False
) -> dict[str, dict[str, float | int]]:
    """Summarize cases as the paper's Table 1: kidney, tumor, average -> {"mean", "median", "n", "left_out"}.

    A row has `kidney_dice` and `tumor_dice` (with `prefix` before them, to choose another pair of columns).
    NaN, a structure absent in truth and prediction alike, is left out and counted in `left_out`. With
    `where_present` only the cases whose truth holds the structure count (`kidney_ml`, `tumor_ml` > 0), so a
    false alarm where there is no tumor, 0 in the mean over all cases, is left out too.

    The mean of "average" is the mean of the two means, as the paper's .763 is of .953 and .572; its median
    and n are of the cases' own averages, where both figures exist. Mean and median over nothing are NaN.
    """
    scores = {name: [_score(row, name, prefix, where_present) for row in rows] for name in STRUCTURES}
    both = [sum(pair) / len(pair) for pair in zip(*scores.values(), strict=True)]
    summary = {name: _describe(scores[name]) for name in STRUCTURES} | {"average": _describe(both)}
    summary["average"]["mean"] = sum(summary[name]["mean"] for name in STRUCTURES) / len(STRUCTURES)
    return summary


def _score(row: Mapping[str, float], name: str, prefix: str, where_present: bool) -> float:
    absent = where_present and not row[f"{name}_ml"] > 0
    return math.nan if absent else float(row[f"{prefix}{name}_dice"])


def _describe(scores: list[float]) -> dict[str, float | int]:
    known = [score for score in scores if not math.isnan(score)]
    return {
        "mean": float(np.mean(known)) if known else math.nan,
        "median": float(np.median(known)) if known else math.nan,
        "n": len(known),
        "left_out": len(scores) - len(known),
    }
