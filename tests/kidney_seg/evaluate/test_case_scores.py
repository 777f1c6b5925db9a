"""All scores of one case: the columns, what is missed, and what an empty mask gives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kidney_seg.evaluate.case_scores import (
    COLUMNS,
    LESIONS,
    OF_PREDICTION,
    OF_TRUTH,
    POSTPROCESSED,
    score_case,
    score_pair,
)

MM = (5.0, 2.0, 1.0)  # a voxel is .01 mL
SHAPE = (6, 20, 60)
DIAGONAL_MM = math.hypot(30.0, 40.0, 60.0)
HIGHER_IS_BETTER = [key for key in COLUMNS if key.endswith("_dice") or key == "tumors_found"]
LOWER_IS_BETTER = [key for key in COLUMNS if key.endswith(("hd95_mm", "assd_mm"))]


def kidneys(tumor: slice | None = slice(10, 20), cyst: bool = False) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 4:14, 5:25] = labels[1:4, 4:14, 35:55] = 1
    if tumor:
        labels[2, 6:9, tumor] = 2
    if cyst:
        labels[2, 10:12, 40:45] = 3
    return labels


def test_a_perfect_prediction():
    row = score_pair(kidneys(), kidneys(), MM)
    assert set(row) == {*COLUMNS[2:], LESIONS}
    assert all(row[key] == 1 for key in HIGHER_IS_BETTER)
    assert all(row[key] == 0 for key in (*LOWER_IS_BETTER, "false_tumors"))
    assert (row["kidney_ml"], row["tumor_ml"]) == pytest.approx((12.0, 0.3))
    assert row["tumor_diameter_mm"] == pytest.approx(math.hypot(9, 4))
    assert [lesion["size_class"] for lesion in row[LESIONS]] == ["up to 20 mm"]


def test_columns_are_of_truth_or_of_prediction():
    assert sorted(COLUMNS) == sorted(("case", "patient", *OF_TRUTH, *OF_PREDICTION))


def test_a_missed_tumor_counts_the_worst():
    row = score_pair(kidneys(), kidneys(tumor=None), MM)
    assert row["kidney_dice"] == row["kits23_kidney_dice"] == 1.0
    for key in ("tumor_dice", "kits23_masses_dice", "kits23_tumor_dice", "kits23_tumor_surface_dice", "tumors_found"):
        assert row[key] == 0
    assert row["tumor_hd95_mm"] == row["tumor_assd_mm"] == pytest.approx(DIAGONAL_MM)
    assert (row["tumors"], row["false_tumors"]) == (1, 0)


def test_nothing_to_find():
    row = score_pair(kidneys(tumor=None), kidneys(tumor=None), MM)
    assert all(math.isnan(row[key]) for key in ("tumor_dice", "tumor_hd95_mm", "tumor_assd_mm", "tumor_diameter_mm"))
    assert row["kits23_tumor_dice"] == row["kits23_tumor_surface_dice"] == 1.0
    assert (row["tumors"], row["tumors_found"], row["false_tumors"], row[LESIONS]) == (0, 0, 0, [])
    nothing = np.zeros(SHAPE, np.uint8)
    row = score_pair(nothing, nothing, MM)
    assert math.isnan(row["kidney_dice"]) and row["kidney_ml"] == 0.0
    alarm = score_pair(kidneys(tumor=None), kidneys(), MM)
    assert (alarm["tumor_dice"], alarm["kits23_tumor_dice"], alarm["false_tumors"]) == (0, 0, 1)


@pytest.mark.parametrize("case", range(8))
def test_missing_an_organ_never_betters_a_figure(golden, case):
    """So it never betters a mean: nothing gets better or vanishes when a structure is taken out of the prediction."""
    truth, predicted, spacing = (golden[f"{name}_{case}"] for name in ("gt", "pred", "spacing"))
    full = score_pair(truth, predicted, spacing)
    for name, emptied in (("kidney", np.zeros_like(predicted)), ("tumor", np.where(predicted == 2, 1, predicted))):
        row = score_pair(truth, emptied, spacing)
        if not row[f"{name}_ml"] > 0:
            continue
        for key in (key for key in HIGHER_IS_BETTER if name in key):
            assert row[key] == 0 <= full[key], key
        for key in (key for key in LOWER_IS_BETTER if name in key):
            assert row[key] > full[key] or full[key] == pytest.approx(row[key]) == pytest.approx(
                diagonal(truth, spacing)
            )


def diagonal(volume, spacing):
    return math.hypot(*np.multiply(volume.shape, spacing))


def test_cysts_are_kidney_by_kits19_and_masses_by_kits23():
    row = score_pair(kidneys(cyst=True), kidneys(), MM)
    assert row["kidney_dice"] == row["tumor_dice"] == row["kits23_tumor_dice"] == 1.0
    assert row["tumor_ml"] == pytest.approx(0.3)
    assert row["kits23_masses_dice"] == 2 * 30 / (40 + 30)  # predictions have no cysts: these voxels are missed
    assert row["kits23_masses_surface_dice"] < 1 == row["kits23_tumor_surface_dice"]
    assert (row["tumors"], row["tumors_found"]) == (1, 1)


def test_postprocessed_scores():
    predicted = kidneys()
    predicted[5, 18, 55:] = 2
    row = score_case("case_00007_s0001", kidneys(), predicted, MM, kidneys())
    assert (row["case"], row["patient"]) == ("case_00007_s0001", "case_00007")
    assert (row["false_tumors"], row[POSTPROCESSED + "false_tumors"]) == (1, 0)
    assert row["tumor_dice"] < 1 == row[POSTPROCESSED + "tumor_dice"]
    assert row["tumor_hd95_mm"] > row[POSTPROCESSED + "tumor_hd95_mm"] == 0
    assert [key for key in row if key.startswith(POSTPROCESSED)] == [POSTPROCESSED + key for key in OF_PREDICTION]
    alone = score_pair(kidneys(), kidneys(), MM)
    assert {key: row[POSTPROCESSED + key] for key in OF_PREDICTION} == {key: alone[key] for key in OF_PREDICTION}
    (lesion,) = row[LESIONS]
    assert lesion == {
        "case": "case_00007_s0001",
        "patient": "case_00007",
        "diameter_mm": pytest.approx(math.hypot(9, 4)),
        "volume_ml": pytest.approx(0.3),
        "found": True,
        "dice": 1.0,
        "size_class": "up to 20 mm",
        "postprocessed_found": True,
        "postprocessed_dice": 1.0,
    }


def test_postprocessing_that_removes_nothing_gives_the_same_twice():
    row = score_case("a", kidneys(), kidneys(slice(12, 22)), MM, kidneys(slice(12, 22)))
    assert all(row[POSTPROCESSED + key] == row[key] for key in OF_PREDICTION)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        score_pair(np.ones((2, 2, 2), np.uint8), np.ones((2, 1, 2), np.uint8), MM)
