"""Validation of a round: Dice of whole cached volumes, and detection of a collapsed training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.cache.manifest import CacheEntry, Manifest, read_labelled_case
from kidney_seg.figures.overlays import Example, most_informative_slice
from kidney_seg.metrics.overlap import kits19_dice
from kidney_seg.predict.predictor import Predictor

# tumor as a share of the foreground, predicted over true: above the first, tumor replaces kidney; below, none is found
SWALLOWED_RATIO, MISSED_RATIO = 3.0, 0.05


@dataclass(frozen=True)
class Validation:
    """Mean Dice over the cases that have the structure or are predicted to (None without any), and its mean `score`.

    `trouble`: kind of collapse, or None; `cases`: Dice of every case, None where it has none.
    """

    kidney: float | None
    tumor: float | None
    score: float
    trouble: str | None
    cases: tuple[dict, ...] = ()


def validate_round(
    predictor: Predictor, manifest: Manifest, entries: Sequence[CacheEntry], shown: int = 0
) -> tuple[Validation, list[Example]]:
    """Predict labelled cases whole, on the network's grid and without post-processing, and score them.

    Returns the scores (`kits19_dice`; they compare rounds, reported scores are at the resolution of the files) and
    pictures of the `shown` cases with the lowest Dice of the tumor, or of the kidney in cases without tumor.
    """
    cases: list[dict] = []
    worst: list[tuple[float, Example]] = []
    true_voxels, predicted_voxels = np.zeros(3), np.zeros(3)
    for entry in entries:
        image, label = read_labelled_case(manifest, entry)
        predicted = predictor(image).argmax(axis=-1).astype(np.uint8)
        dice = {name: None if np.isnan(value) else value for name, value in kits19_dice(label, predicted).items()}
        cases.append({"case": entry.case, **dice})
        lowest = next((value for value in (dice["tumor"], dice["kidney"]) if value is not None), 2.0)
        worst.append((lowest, most_informative_slice(image, label, predicted, entry.case, dice)))
        worst = sorted(worst, key=lambda one: one[0])[:shown]
        voxel_mm3 = float(entry.spacing_mm[0]) * entry.pixel_mm**2
        true_voxels += voxel_mm3 * np.bincount(label.ravel(), minlength=3)[:3]
        predicted_voxels += voxel_mm3 * np.bincount(predicted.ravel(), minlength=3)[:3]
    known = {name: [case[name] for case in cases if case[name] is not None] for name in ("kidney", "tumor")}
    means = {name: float(np.mean(values)) if values else None for name, values in known.items()}
    found = [value for value in means.values() if value is not None]
    trouble = find_collapse(true_voxels, predicted_voxels)
    return (
        Validation(**means, score=float(np.mean(found)) if found else 0.0, trouble=trouble, cases=tuple(cases)),
        [example for _, example in worst],
    )


def find_collapse(true: np.ndarray, predicted: np.ndarray) -> str | None:
    """Return the collapse that volumes by class [background, kidney, tumor] show, or None.

    >>> find_collapse(np.array([900, 80, 20]), np.array([900, 20, 80]))
    'tumor swallows kidney (80 % of the foreground is called tumor, 20 % is)'
    """
    if predicted[1:].sum() == 0:
        return "nothing but background is predicted"
    true_share, share = true[2] / max(true[1:].sum(), 1), predicted[2] / predicted[1:].sum()
    if share < MISSED_RATIO * true_share:
        return "almost no tumor is predicted"
    if true_share > 0 and share > min(SWALLOWED_RATIO * true_share, (1 + true_share) / 2):
        shares = f"{100 * share:.0f} % of the foreground is called tumor, {100 * true_share:.0f} % is"
        return f"tumor swallows kidney ({shares})"
    return None
