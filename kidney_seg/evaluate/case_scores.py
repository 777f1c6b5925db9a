"""All scores of one case: Dice and surface scores by the rules of KiTS, distances in mm, volumes, tumors one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from data_prep.datasets.kits import patient_of
from kidney_seg.metrics.lesion_detection import detect, size_class
from kidney_seg.metrics.overlap import (
    KITS23_REGIONS,
    check_shapes,
    cysts_to_kidney,
    kits19_dice,
    kits23_dice,
    region_mask,
    volume_ml,
)
from kidney_seg.metrics.surface_distance import (
    Distances,
    Surface,
    assd_mm,
    hausdorff_mm,
    surface_dice,
    surface_distances,
    surface_of,
)

AFTER = "postprocessed_"  # before the names of the columns that hold scores after the rule
LESIONS = "lesions"  # key of a row that is no column: the true tumors one by one
OF_TRUTH = ("kidney_ml", "tumor_ml", "tumor_diameter_mm", "tumors")  # the same before and after the rule
OF_PREDICTION = (
    "kidney_dice",
    "tumor_dice",
    "predicted_kidney_ml",
    "predicted_tumor_ml",
    *(f"kits23_{name}_dice" for name in KITS23_REGIONS),
    *(f"kits23_{name}_surface_dice" for name in KITS23_REGIONS),
    "kidney_hd95_mm",
    "tumor_hd95_mm",
    "kidney_assd_mm",
    "tumor_assd_mm",
    "tumors_found",
    "false_tumors",
)
COLUMNS = (  # of the CSV and of a row; "kidney" is the kidney with its tumors, what its Dice is measured on
    "case",
    "patient",
    "kidney_dice",
    "tumor_dice",
    "kidney_ml",
    "tumor_ml",
    *OF_PREDICTION[2:14],
    "tumor_diameter_mm",
    "tumors",
    *OF_PREDICTION[14:],
)


def score_pair(truth_labels: np.ndarray, predicted_labels: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, Any]:
    """Return the scores of one case: `COLUMNS` without case and patient, and `LESIONS`, a list of a dict a true tumor.

    Both label maps [z, y, x] lie on one grid of `spacing_mm`. In the scores of KiTS19, the distances and the volumes
    cysts (3, KiTS21 and 23) count as kidney; the columns of KiTS23 take the labels as they are. What an empty
    mask gives stands in docs/howto/scores.md. ValueError where the shapes differ.
    """
    return _score_stages(truth_labels, [predicted_labels], spacing_mm)[0]


def score_case(
    case: str,
    truth_labels: np.ndarray,
    predicted_labels: np.ndarray,
    spacing_mm: Sequence[float],
    cleaned_labels: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the row of one case: its name, its patient and `score_pair`; arrays as there.

    `cleaned_labels`, the prediction after post-processing, adds what depends on it under `postprocessed_` names, in
    the lesions, too.
    """
    stages = [predicted_labels] if cleaned_labels is None else [predicted_labels, cleaned_labels]
    before, *rest = _score_stages(truth_labels, stages, spacing_mm)
    row = {"case": case, "patient": patient_of(case), **before}
    for after in rest:
        row |= {AFTER + key: after[key] for key in OF_PREDICTION}
        row[LESIONS] = [
            one | {AFTER + key: other[key] for key in ("found", "dice")}
            for one, other in zip(before[LESIONS], after[LESIONS], strict=True)
        ]
    row[LESIONS] = [{"case": case, "patient": row["patient"], **lesion} for lesion in row[LESIONS]]
    return row


def _score_stages(
    truth_labels: np.ndarray, stages: Sequence[np.ndarray], spacing_mm: Sequence[float]
) -> list[dict[str, Any]]:
    """Score several predictions of one case; what they share is worked out once."""
    truth_labels, stages = np.asarray(truth_labels), [np.asarray(labels) for labels in stages]
    for labels in stages:
        check_shapes(truth_labels, labels)
    # as far apart as two points of the volume can be: what a distance to nothing counts
    absent_mm = math.hypot(*(size * mm for size, mm in zip(truth_labels.shape, spacing_mm, strict=True)))
    box = _bounding_box([truth_labels, *stages])
    truth = truth_labels[box]
    surfaces = {name: surface_of(region_mask(truth, region), spacing_mm) for name, region in KITS23_REGIONS.items()}
    scored: list[dict[str, Any]] = []
    for index, labels in enumerate(stages):
        if index and np.array_equal(labels[box], stages[0][box]):  # the rule removed nothing
            scored.append(scored[0])
        else:
            scored.append(_score(truth, surfaces, labels[box], spacing_mm, absent_mm))
    return scored


def _score(
    truth: np.ndarray,
    surfaces: dict[str, Surface],
    predicted: np.ndarray,
    spacing_mm: Sequence[float],
    absent_mm: float,
) -> dict[str, Any]:
    true19, predicted19 = cysts_to_kidney(truth), cysts_to_kidney(predicted)
    dice19, dice23 = kits19_dice(true19, predicted19), kits23_dice(truth, predicted)
    distances = _distances(truth, surfaces, predicted)
    lesions, false_tumors = detect(true19 == 2, predicted19 == 2, spacing_mm)
    return {
        "kidney_dice": dice19["kidney"],
        "tumor_dice": dice19["tumor"],
        "kidney_ml": volume_ml(true19 > 0, spacing_mm),
        "tumor_ml": volume_ml(true19 > 1, spacing_mm),
        "predicted_kidney_ml": volume_ml(predicted19 > 0, spacing_mm),
        "predicted_tumor_ml": volume_ml(predicted19 > 1, spacing_mm),
        **{f"kits23_{name}_dice": value for name, value in dice23.items()},
        **{
            f"kits23_{name}_surface_dice": surface_dice(distances[name], region.tolerance_mm, "official_kits23")
            for name, region in KITS23_REGIONS.items()
        },
        **{f"{name}_hd95_mm": hausdorff_mm(distances[name], 95, absent_mm) for name in ("kidney", "tumor")},
        **{f"{name}_assd_mm": assd_mm(distances[name], absent_mm) for name in ("kidney", "tumor")},
        "tumor_diameter_mm": max((lesion.diameter_mm for lesion in lesions), default=math.nan),
        "tumors": len(lesions),
        "tumors_found": sum(lesion.found for lesion in lesions),
        "false_tumors": false_tumors,
        LESIONS: [asdict(lesion) | {"size_class": size_class(lesion.diameter_mm)} for lesion in lesions],
    }


def _distances(truth: np.ndarray, surfaces: dict[str, Surface], predicted: np.ndarray) -> dict[str, Distances]:
    made: dict[str, Distances] = {}
    no_cysts = not (truth == 3).any() and not (predicted == 3).any()
    for name, region in KITS23_REGIONS.items():
        if name == "tumor" and no_cysts:  # then all masses are tumor
            made[name] = made["masses"]
        else:
            other = surface_of(region_mask(predicted, region), surfaces[name].spacing_mm)
            made[name] = surface_distances(surfaces[name], other)
    return made


def _bounding_box(maps: Sequence[np.ndarray]) -> tuple[slice, ...]:
    """Return the smallest box that holds all labels of all maps [z, y, x]; one without extent where all are empty."""
    box = []
    for axis in range(maps[0].ndim):
        others = tuple(other for other in range(maps[0].ndim) if other != axis)
        filled = np.flatnonzero(np.any([labels.any(axis=others) for labels in maps], axis=0))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1) if filled.size else slice(0, 0))
    return tuple(box)
