"""How good the network is after a round: Dice of whole cached volumes, and the watch for a collapsed training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.cache.manifest import CacheEntry, Manifest, read_labelled_case
from kidney_seg.figures.overlays import Example, most_informative_slice
from kidney_seg.metrics.overlap import kits19_dice
from kidney_seg.predict.predictor import Predictor

SWALLOWED = 3.0  # tumor as a share of all foreground, predicted over true, beyond which tumor has swallowed kidney
MISSED = 0.05  # the same ratio below which tumors are as good as never predicted


@dataclass(frozen=True)
class Judgement:
    """What a round is judged by.

    `kidney`, `tumor`: mean Dice over the patients' cases that have or were given the structure (None if there is none);
    `score`: the mean of the two, which rounds are compared by; `trouble`: why the network is of no use, or None;
    `cases`: the Dice of every case, None where it has none.
    """

    kidney: float | None
    tumor: float | None
    score: float
    trouble: str | None
    cases: tuple[dict, ...] = ()


def judge(predictor: Predictor, manifest: Manifest, entries: Sequence[CacheEntry]) -> Judgement:
    """Predict every case whole, on the network's grid and without post-processing, and judge the result.

    Needs labelled entries. The scores are those of `kits19_dice`; as they are taken on the network's grid, they are for
    comparing rounds, not for reporting.
    """
    cases: list[dict] = []
    true_voxels, predicted_voxels = np.zeros(3), np.zeros(3)
    for entry in entries:
        image, label = read_labelled_case(manifest, entry)
        predicted = predictor(image).argmax(axis=-1).astype(np.uint8)
        dice = kits19_dice(label, predicted)
        cases.append({"case": entry.case, **{name: None if np.isnan(dice[name]) else dice[name] for name in dice}})
        volume = float(np.prod(entry.spacing_mm[:1])) * entry.pixel_mm**2
        true_voxels += volume * np.bincount(label.ravel(), minlength=3)[:3]
        predicted_voxels += volume * np.bincount(predicted.ravel(), minlength=3)[:3]
    kidney, tumor = (_mean([case[name] for case in cases]) for name in ("kidney", "tumor"))
    found = [value for value in (kidney, tumor) if value is not None]
    score = float(np.mean(found)) if found else 0.0
    return Judgement(kidney, tumor, score, _trouble(true_voxels, predicted_voxels), tuple(cases))


def worst_cases(
    judged: Judgement,
    predictor: Predictor,
    manifest: Manifest,
    entries: Sequence[CacheEntry],
    count: int,
) -> list[Example]:
    """Return pictures of the cases with the lowest Dice of the tumor (of the kidney, where there is no tumor)."""

    def badness(case: dict) -> float:
        return next((case[name] for name in ("tumor", "kidney") if case[name] is not None), 2.0)

    by_name = {entry.case: entry for entry in entries}
    made = []
    for case in sorted(judged.cases, key=badness)[:count]:
        image, label = read_labelled_case(manifest, by_name[case["case"]])
        predicted = predictor(image).argmax(axis=-1).astype(np.uint8)
        dice = {name: case[name] for name in ("kidney", "tumor")}
        made.append(most_informative_slice(image, label, predicted, case["case"], dice))
    return made


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _trouble(true: np.ndarray, predicted: np.ndarray) -> str | None:
    """Name the collapse that volumes by class [background, kidney, tumor] show, or return None.

    >>> _trouble(np.array([900, 80, 20]), np.array([900, 20, 80]))
    'tumor swallows kidney (80 % of the foreground is called tumor, 20 % is)'
    """
    if predicted[1:].sum() == 0:
        return "nothing but background is predicted"
    true_share, share = true[2] / max(true[1:].sum(), 1), predicted[2] / predicted[1:].sum()
    if share < MISSED * true_share:
        return "almost no tumor is predicted"
    if true_share > 0 and share > min(SWALLOWED * true_share, (1 + true_share) / 2):
        return f"tumor swallows kidney ({share:.0%} of the foreground is called tumor, {true_share:.0%} is)".replace(
            "%", " %"
        )
    return None
