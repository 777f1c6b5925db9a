"""All scores of one case: Dice and surface scores by the rules of KiTS, distances in mm, volumes, single tumors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data_prep.datasets.kits import patient_of
from data_prep.geometry.components import bounding_box
from data_prep.labels import CYST, TUMOR, cysts_to_kidney
from kidney_seg.metrics import surface_distance as surfaces
from kidney_seg.metrics.lesion_detection import detect, size_class
from kidney_seg.metrics.overlap import (
    KITS23_REGIONS,
    SCORED,
    check_shapes,
    kits19_dice,
    kits23_dice,
    region_mask,
    volume_ml,
)

POSTPROCESSED = "postprocessed_"  # prefix of the columns with post-processed scores
STAGES = {"": "as predicted", POSTPROCESSED: "post-processed"}  # name of each prefix in tables
LESIONS = "lesions"  # key of a row that is no column: the true tumors one by one
_IN_TRUTH = {"kidney": "kidney", "masses": "tumor", "tumor": "tumor"}  # of the regions of KiTS23


@dataclass(frozen=True)
class Column:
    """A figure of a case.

    in_truth: the structure that the truth of a case must hold for two predictions to be compared by it; None: any case.
    of_truth: post-processing does not change it. is_score: `paired.compare_rows` compares it.
    """

    name: str
    in_truth: str | None
    of_truth: bool = False
    is_score: bool = True


FIGURES = (  # "kidney" is the kidney with its tumors, as its Dice has it
    *(Column(f"{name}_dice", name) for name in SCORED),
    *(Column(f"{name}_ml", name, of_truth=True, is_score=False) for name in SCORED),
    *(Column(f"predicted_{name}_ml", name, is_score=False) for name in SCORED),
    *(Column(f"kits23_{name}_dice", _IN_TRUTH[name]) for name in KITS23_REGIONS),
    *(Column(f"kits23_{name}_surface_dice", _IN_TRUTH[name]) for name in KITS23_REGIONS),
    *(Column(f"{name}_hd95_mm", name) for name in SCORED),
    *(Column(f"{name}_assd_mm", name) for name in SCORED),
    Column("tumor_diameter_mm", "tumor", of_truth=True, is_score=False),
    Column("tumors", "tumor", of_truth=True, is_score=False),
    Column("tumors_found", "tumor"),
    Column("false_tumors", None),
)
COLUMNS = ("case", "patient", *(figure.name for figure in FIGURES))  # of cases.csv and of a row
OF_TRUTH = tuple(figure.name for figure in FIGURES if figure.of_truth)
OF_PREDICTION = tuple(figure.name for figure in FIGURES if not figure.of_truth)


def score_pair(truth_labels: np.ndarray, predicted_labels: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, Any]:
    """Return the scores of one case: `COLUMNS` without case and patient, and `LESIONS`, one dict per true tumor.

    The scores of KiTS19, distances and volumes count cysts (3, in KiTS21 and KiTS23) as kidney; the columns of KiTS23
    take the labels as they are. For empty masks see docs/howto/scores.md. Both label maps are [z, y, x], on one grid of
    `spacing_mm`. ValueError if their shapes differ.
    """
    return _score_stages(truth_labels, [predicted_labels], spacing_mm)[0]


def score_case(
    case: str,
    truth_labels: np.ndarray,
    predicted_labels: np.ndarray,
    spacing_mm: Sequence[float],
    cleaned_labels: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the row of one case: its name, its patient, and its scores (see `score_pair`).

    `cleaned_labels`, the post-processed prediction, adds its scores under `POSTPROCESSED` names, also in the lesions.
    """
    stages = [predicted_labels] if cleaned_labels is None else [predicted_labels, cleaned_labels]
    before, *rest = _score_stages(truth_labels, stages, spacing_mm)
    row = {"case": case, "patient": patient_of(case), **before}
    for after in rest:
        row |= {POSTPROCESSED + key: after[key] for key in OF_PREDICTION}
        row[LESIONS] = [
            one | {POSTPROCESSED + key: other[key] for key in ("found", "dice")}
            for one, other in zip(before[LESIONS], after[LESIONS], strict=True)
        ]
    row[LESIONS] = [{"case": case, "patient": row["patient"], **lesion} for lesion in row[LESIONS]]
    return row


def _score_stages(
    truth_labels: np.ndarray, stages: Sequence[np.ndarray], spacing_mm: Sequence[float]
) -> list[dict[str, Any]]:
    """Score several predictions of one case; what they share is computed once."""
    truth_labels, stages = np.asarray(truth_labels), [np.asarray(labels) for labels in stages]
    for labels in stages:
        check_shapes(truth_labels, labels)
    # the diagonal of the volume counts as the distance to an absent structure
    absent_mm = math.hypot(*(size * mm for size, mm in zip(truth_labels.shape, spacing_mm, strict=True)))
    box = bounding_box(truth_labels, *stages) or (slice(0, 1),) * 3  # all empty
    truth = truth_labels[box]
    true_surfaces = {
        name: surfaces.surface_of(region_mask(truth, region), spacing_mm) for name, region in KITS23_REGIONS.items()
    }
    scored: list[dict[str, Any]] = []
    for index, labels in enumerate(stages):
        if index and np.array_equal(labels[box], stages[0][box]):  # post-processing removed nothing
            scored.append(scored[0])
        else:
            scored.append(_score(truth, true_surfaces, labels[box], spacing_mm, absent_mm))
    return scored


def _score(
    truth: np.ndarray,
    true_surfaces: dict[str, surfaces.Surface],
    predicted: np.ndarray,
    spacing_mm: Sequence[float],
    absent_mm: float,
) -> dict[str, Any]:
    true19, predicted19 = cysts_to_kidney(truth), cysts_to_kidney(predicted)
    dice19, dice23 = kits19_dice(true19, predicted19), kits23_dice(truth, predicted)
    distances = _distances(truth, true_surfaces, predicted)
    lesions, false_tumors = detect(true19 == TUMOR, predicted19 == TUMOR, spacing_mm)
    return {
        **{f"{name}_dice": value for name, value in dice19.items()},
        "kidney_ml": volume_ml(true19 > 0, spacing_mm),
        "tumor_ml": volume_ml(true19 > 1, spacing_mm),
        "predicted_kidney_ml": volume_ml(predicted19 > 0, spacing_mm),
        "predicted_tumor_ml": volume_ml(predicted19 > 1, spacing_mm),
        **{f"kits23_{name}_dice": value for name, value in dice23.items()},
        **{
            f"kits23_{name}_surface_dice": surfaces.surface_dice(
                distances[name], region.tolerance_mm, "official_kits23"
            )
            for name, region in KITS23_REGIONS.items()
        },
        **{f"{name}_hd95_mm": surfaces.hausdorff_mm(distances[name], 95, absent_mm) for name in SCORED},
        **{f"{name}_assd_mm": surfaces.assd_mm(distances[name], absent_mm) for name in SCORED},
        "tumor_diameter_mm": max((lesion.diameter_mm for lesion in lesions), default=math.nan),
        "tumors": len(lesions),
        "tumors_found": sum(lesion.found for lesion in lesions),
        "false_tumors": false_tumors,
        LESIONS: [asdict(lesion) | {"size_class": size_class(lesion.diameter_mm)} for lesion in lesions],
    }


def _distances(
    truth: np.ndarray, true_surfaces: dict[str, surfaces.Surface], predicted: np.ndarray
) -> dict[str, surfaces.Distances]:
    made: dict[str, surfaces.Distances] = {}
    no_cysts = not (truth == CYST).any() and not (predicted == CYST).any()
    for name, region in KITS23_REGIONS.items():
        if name == "tumor" and no_cysts:  # then all masses are tumor
            made[name] = made["masses"]
        else:
            other = surfaces.surface_of(region_mask(predicted, region), true_surfaces[name].spacing_mm)
            made[name] = surfaces.surface_distances(true_surfaces[name], other)
    return made
