"""Dice of two label maps by KiTS19's and by KiTS21/23's rules, volumes, and what an empty mask counts. Numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

AVERAGE = "average"  # of kidney and tumor, where a case has both

STRUCTURES = ("kidney", "tumor")  # the rows of Table 1; "kidney" is the kidney with its masses, label > 0

EMPTY_SHARE = {  # what Dice and surface Dice are: (both masks empty, one empty)
    "project": (math.nan, 0.0),  # nothing to find, nothing found: left out of means
    "official_kits19": (math.nan, 0.0),  # the code divides 0 by 0; numpy gives NaN
    "official_kits23": (1.0, 0.0),  # KiTS21's too
}


@dataclass(frozen=True)
class Region:
    """A structure that KiTS21 and KiTS23 score: the labels that make it up, and the tolerance of its surface Dice."""

    labels: tuple[int, ...]
    tolerance_mm: float


KITS23_REGIONS = {  # the challenge's "hierarchical evaluation classes"; tolerances of its evaluation code
    "kidney": Region((1, 2, 3), 1.0330772532390826),  # kidney and masses
    "masses": Region((2, 3), 1.1328796488598762),  # tumor and cyst
    "tumor": Region((2,), 1.1498198361434828),
}


def share_of_empty(truth_filled: bool, predicted_filled: bool, empty: str = "project") -> float | None:
    """Return what a Dice is where a mask is empty, by one of `EMPTY_SHARE`; None where both have voxels.

    ValueError for a rule of another name.
    """
    if empty not in EMPTY_SHARE:
        raise ValueError(f"empty={empty!r}: expected one of {', '.join(EMPTY_SHARE)}")
    if truth_filled and predicted_filled:
        return None
    return EMPTY_SHARE[empty][truth_filled or predicted_filled]


def dice(truth_mask: np.ndarray, predicted_mask: np.ndarray, empty: str = "project") -> float:
    """Return 2 |A and B| / (|A| + |B|) of two boolean masks of the same shape.

    By default NaN where both are empty (there was nothing to find; means leave it out), 0 where only one is;
    `empty` names another rule of `EMPTY_SHARE`. ValueError where the shapes differ.

    >>> dice(np.array([1, 1, 0], bool), np.array([0, 1, 1], bool))
    0.5
    """
    truth_mask, predicted_mask = np.asarray(truth_mask, bool), np.asarray(predicted_mask, bool)
    check_shapes(truth_mask, predicted_mask)
    voxels = int(np.count_nonzero(truth_mask)), int(np.count_nonzero(predicted_mask))
    known = share_of_empty(voxels[0] > 0, voxels[1] > 0, empty)
    if known is not None:
        return known
    return 2 * int(np.count_nonzero(truth_mask & predicted_mask)) / sum(voxels)


def check_shapes(truth: np.ndarray, predicted: np.ndarray) -> None:
    """Raise ValueError where two arrays differ in shape: numpy would broadcast some of these without a word."""
    if truth.shape != predicted.shape:
        raise ValueError(f"truth has shape {truth.shape}, prediction {predicted.shape}; they must be the same")


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
    (`case_scores.score_pair` does it). Where truth and prediction are both empty the official code divides
    by zero and gives NaN with a warning; here it is NaN too. ValueError where the shapes differ.
    """
    truth_labels, predicted_labels = np.asarray(truth_labels), np.asarray(predicted_labels)
    return {
        "kidney": dice(truth_labels > 0, predicted_labels > 0, "official_kits19"),
        "tumor": dice(truth_labels > 1, predicted_labels > 1, "official_kits19"),
    }


def region_mask(labels: np.ndarray, region: Region) -> np.ndarray:
    """Return the boolean mask of a region of `KITS23_REGIONS` in a label map of any shape."""
    labels = np.asarray(labels)  # comparing is several times as fast as np.isin
    return np.logical_or.reduce([labels == label for label in region.labels])


def kits23_dice(truth_labels: np.ndarray, predicted_labels: np.ndarray) -> dict[str, float]:
    """Return the Dice of `KITS23_REGIONS` as KiTS21 and KiTS23 score: both empty 1, one empty 0.

    Labels are those of KiTS23, 2 tumor and 3 cyst. ValueError where the shapes differ.
    """
    return {
        name: dice(region_mask(truth_labels, region), region_mask(predicted_labels, region), "official_kits23")
        for name, region in KITS23_REGIONS.items()
    }


def volume_ml(mask: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Return the volume of a boolean mask in mL (1000 mm3); 0 where it is empty.

    >>> volume_ml(np.ones((2, 10, 10), bool), (5.0, 1.0, 1.0))
    1.0
    """
    return int(np.count_nonzero(mask)) * math.prod(float(mm) for mm in spacing_mm) / 1000.0
