"""Dice against the reference figures and against numbers worked out by hand."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from kidney_seg import metrics, summary
from kidney_seg.metrics import cysts_to_kidney, dice, kits19_dice, volume_ml
from kidney_seg.summary import table1


def test_examples_in_the_docstrings():
    result = doctest.testmod(metrics)
    assert result.attempted >= 2
    assert result.failed == 0


@pytest.mark.parametrize("case", range(8))
def test_official_rule_gives_the_reference_figures(golden, case):
    expected = golden["values"]["cases"][case]
    found = kits19_dice(golden[f"gt_{case}"], golden[f"pred_{case}"])
    assert found["kidney"] == pytest.approx(expected["kits19_kidney_dice"], abs=1e-9)
    assert found["tumor"] == pytest.approx(expected["kits19_tumour_dice"], abs=1e-9)


def test_the_reference_figures_cover_cysts_and_a_missed_tumor(golden):
    """Cases 0, 3 and 6 hold cysts, which "> 1" counts; case 5 has a tumor that the prediction lacks."""
    assert all(3 in golden[f"gt_{case}"] for case in (0, 3, 6))
    mapped = kits19_dice(cysts_to_kidney(golden["gt_6"]), cysts_to_kidney(golden["pred_6"]))
    assert mapped["tumor"] == 0.0  # its "tumor" of .071 was cyst only
    assert mapped["kidney"] == pytest.approx(golden["values"]["cases"][6]["kits19_kidney_dice"], abs=1e-9)


def test_dice_by_hand():
    truth = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], bool)
    predicted = np.array([[0, 1, 1, 1], [1, 1, 0, 0]], bool)
    assert dice(truth, predicted) == 2 * 2 / (3 + 5)
    assert dice(predicted, truth) == dice(truth, predicted)
    assert dice(truth, truth) == 1.0
    assert dice(truth, ~truth) == 0.0


def test_empty_masks():
    empty, full = np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)
    assert math.isnan(dice(empty, empty))
    assert dice(full, empty) == 0.0
    assert dice(empty, full) == 0.0
    assert type(dice(full, empty)) is float


def test_shapes_that_numpy_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(1, 2\)"):
        dice(np.ones((2, 2), bool), np.ones((1, 2), bool))
    with pytest.raises(ValueError, match="shape"):
        kits19_dice(np.ones((2, 2), np.uint8), np.ones((2, 1), np.uint8))


def test_kits19_by_hand():
    truth = np.array([0, 1, 1, 2, 2, 0], np.uint8)
    predicted = np.array([0, 1, 2, 2, 0, 0], np.uint8)
    # label > 0: 4 against 3, 3 in common; label > 1: 2 against 2, 1 in common
    assert kits19_dice(truth, predicted) == {"kidney": 6 / 7, "tumor": 2 / 4}


def test_cysts_become_kidney_and_nothing_else_changes():
    labels = np.array([0, 1, 2, 3, 3], np.uint8)
    mapped = cysts_to_kidney(labels)
    assert mapped.tolist() == [0, 1, 2, 1, 1]
    assert mapped.dtype == np.uint8
    assert labels.tolist() == [0, 1, 2, 3, 3]
    assert cysts_to_kidney(mapped) is mapped


def test_volume_in_ml():
    mask = np.zeros((4, 10, 10), bool)
    mask[1, :5, :4] = True
    assert volume_ml(mask, (5.0, 0.8, 0.5)) == pytest.approx(20 * 2.0 / 1000)
    assert volume_ml(np.zeros((3, 3, 3), bool), (1, 1, 1)) == 0.0


def row(kidney, tumor, kidney_ml=100.0, tumor_ml=10.0, **more):
    return {"kidney_dice": kidney, "tumor_dice": tumor, "kidney_ml": kidney_ml, "tumor_ml": tumor_ml, **more}


def test_table1_by_hand():
    rows = [row(0.9, 0.5), row(0.8, math.nan, tumor_ml=0.0), row(1.0, 0.0, tumor_ml=0.0), row(0.9, 0.7)]
    summary = table1(rows)
    assert summary["kidney"] == {
        "mean": pytest.approx(0.9),
        "median": pytest.approx(0.9),
        "n": 4,
        "left_out": 0,
    }
    assert summary["tumor"] == {"mean": pytest.approx(0.4), "median": 0.5, "n": 3, "left_out": 1}
    assert summary["average"]["mean"] == pytest.approx((0.9 + 0.4) / 2)
    assert summary["average"]["median"] == pytest.approx(0.7)  # of .7, .5 and .8
    assert summary["average"]["n"] == 3
    present = table1(rows, where_present=True)
    assert present["tumor"] == {
        "mean": pytest.approx(0.6),
        "median": pytest.approx(0.6),
        "n": 2,
        "left_out": 2,
    }
    assert present["kidney"]["n"] == 4


def test_table1_of_the_paper():
    summary = table1([row(0.953, 0.572)])
    assert summary["average"]["mean"] == pytest.approx(0.7625)  # printed as .763


def test_table1_of_nothing_and_of_other_columns():
    assert math.isnan(table1([])["average"]["mean"])
    assert table1([])["kidney"]["n"] == 0
    rows = [row(0.1, 0.1, postprocessed_kidney_dice=0.4, postprocessed_tumor_dice=0.2)]
    assert table1(rows, prefix="postprocessed_")["average"]["mean"] == pytest.approx(0.3)
