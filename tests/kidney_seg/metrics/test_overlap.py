"""Dice against the reference figures and against numbers worked out by hand."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from data_prep.labels import cysts_to_kidney
from kidney_seg.metrics import overlap as metrics
from kidney_seg.metrics.overlap import (
    EMPTY_SHARE,
    KITS23_REGIONS,
    dice,
    kits19_dice,
    kits23_dice,
    volume_ml,
)


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


@pytest.mark.parametrize("case", range(8))
def test_kits23_rule_gives_the_reference_figures(golden, case):
    expected = golden["values"]["cases"][case]
    found = kits23_dice(golden[f"gt_{case}"], golden[f"pred_{case}"])
    for name, theirs in (("kidney", "kidney_and_mass"), ("masses", "mass"), ("tumor", "tumor")):
        assert found[name] == pytest.approx(expected[theirs]["dice"], abs=1e-9)


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


def test_rules_for_empty_masks_by_name():
    empty, full = np.zeros(3, bool), np.ones(3, bool)
    both = {name: dice(empty, empty, name) for name in EMPTY_SHARE}
    assert both == {
        "project": pytest.approx(math.nan, nan_ok=True),
        "official_kits19": both["project"],
        "official_kits23": 1.0,
    }
    assert math.isnan(both["official_kits19"])
    for name in EMPTY_SHARE:
        assert dice(full, empty, name) == dice(empty, full, name) == 0.0
        assert dice(full, full, name) == 1.0
    with pytest.raises(ValueError, match="official_kits23"):
        dice(full, full, "kits23")


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


def test_kits23_by_hand():
    truth = np.array([0, 1, 1, 2, 2, 3, 3, 0], np.uint8)
    predicted = np.array([0, 1, 2, 2, 0, 1, 0, 2], np.uint8)
    # all labels: 6 against 5, 4 in common; 2 and 3: 4 against 3, 1 in common; 2: 2 against 3, 1 in common
    assert kits23_dice(truth, predicted) == {"kidney": 8 / 11, "masses": 2 / 7, "tumor": 2 / 5}
    nothing = np.zeros(4, np.uint8)
    assert set(kits23_dice(nothing, nothing).values()) == {1.0}
    assert [region.labels for region in KITS23_REGIONS.values()] == [(1, 2, 3), (2, 3), (2,)]
