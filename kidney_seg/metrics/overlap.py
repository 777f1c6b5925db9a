"""Dice of two label maps by the rules of KiTS19 and of KiTS21/23, rules for empty masks, and volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.labels import CYST, KIDNEY, TUMOR

SCORED = ("kidney", "tumor")  # the rows of Table 1; "kidney" is the kidney with its masses, label > 0
AVERAGE = "average"  # the third row: of kidney and tumor

EMPTY_SHARE = {  # Dice and surface Dice by rule: (both masks empty, one empty)
    "project": (math.nan, 0.0),  # nothing to find, nothing found: left out of means
    "official_kits19": (math.nan, 0.0),  # its code divides 0 by 0
    "official_kits23": (1.0, 0.0),  # KiTS21 has the same
}


@dataclass(frozen=True)
class Region:
    """A structure that KiTS21 and KiTS23 score: its labels and the tolerance of its surface Dice."""

    labels: tuple[int, ...]
    tolerance_mm: float


KITS23_REGIONS = {  # the challenge's "hierarchical evaluation classes"; tolerances of its evaluation code
    "kidney": Region((KIDNEY, TUMOR, CYST), 1.0330772532390826),  # kidney and masses
    "masses": Region((TUMOR, CYST), 1.1328796488598762),
    "tumor": Region((TUMOR,), 1.1498198361434828),
}


def share_of_empty(truth_filled: bool, predicted_filled: bool, empty: str = "project") -> float | None:
    """Return the Dice where a mask is empty, by a rule of `EMPTY_SHARE` (else ValueError); None if both have voxels."""
    if empty not in EMPTY_SHARE:
        raise ValueError(f"empty={empty!r}: expected one of {', '.join(EMPTY_SHARE)}")
    if truth_filled and predicted_filled:
        return None
    return EMPTY_SHARE[empty][truth_filled or predicted_filled]


def dice(truth_mask: np.ndarray, predicted_mask: np.ndarray, empty: str = "project") -> float:
    """Return 2 |A and B| / (|A| + |B|) of two boolean masks of the same shape.

    NaN if both are empty (means leave it out), 0 if one is; `empty` names another rule of `EMPTY_SHARE`. ValueError if
    the shapes differ.

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
    """Raise ValueError if two arrays differ in shape: numpy silently broadcasts some of these."""
    if truth.shape != predicted.shape:
        raise ValueError(f"truth has shape {truth.shape}, prediction {predicted.shape}; they must be the same")


def kits19_dice(truth_labels: np.ndarray, predicted_labels: np.ndarray) -> dict[str, float]:
    """Return {"kidney": Dice of label > 0, "tumor": Dice of label > 1} of two label maps of the same shape.

    The rule of KiTS19's own evaluation (neheller/kits19): any label above 1 is tumor, 3 included, so apply
    `data_prep.labels.cysts_to_kidney` to labels of KiTS21 and KiTS23 first. NaN if truth and prediction are both empty,
    where the official code divides by zero. ValueError if the shapes differ.
    """
    truth_labels, predicted_labels = np.asarray(truth_labels), np.asarray(predicted_labels)
    return {
        "kidney": dice(truth_labels > 0, predicted_labels > 0, "official_kits19"),
        "tumor": dice(truth_labels > 1, predicted_labels > 1, "official_kits19"),
    }


def region_mask(labels: np.ndarray, region: Region) -> np.ndarray:
    """Return the boolean mask of a region of `KITS23_REGIONS` in a label map of any shape."""
    labels = np.asarray(labels)  # comparisons are several times as fast as np.isin
    return np.logical_or.reduce([labels == label for label in region.labels])


def tumor_mask(labels: np.ndarray) -> np.ndarray:
    """Return the boolean mask of the tumor in a label map of any shape."""
    return np.asarray(labels) == TUMOR


def tissue_masks(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the boolean masks that share out a label map: "kidney" without its tumors (cysts included), "tumor"."""
    labels = np.asarray(labels)
    return {"kidney": (labels == KIDNEY) | (labels == CYST), "tumor": labels == TUMOR}


def kits23_dice(truth_labels: np.ndarray, predicted_labels: np.ndarray) -> dict[str, float]:
    """Return the Dice per region of KiTS23: 1 if both are empty, 0 if one is. ValueError if the shapes differ."""
    return {
        name: dice(region_mask(truth_labels, region), region_mask(predicted_labels, region), "official_kits23")
        for name, region in KITS23_REGIONS.items()
    }


def voxel_ml(spacing_mm: Sequence[float]) -> float:
    """Return the volume of a voxel in mL (1000 mm3)."""
    return math.prod(float(mm) for mm in spacing_mm) / 1000.0


def volume_ml(mask: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Return the volume of a boolean mask in mL; 0 if it is empty.

    >>> volume_ml(np.ones((2, 10, 10), bool), (5.0, 1.0, 1.0))
    1.0
    """
    return int(np.count_nonzero(mask)) * voxel_ml(spacing_mm)
