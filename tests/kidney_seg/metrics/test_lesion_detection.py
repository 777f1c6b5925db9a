"""Tumors one by one, on maps small enough to count."""

from __future__ import annotations

import numpy as np
import pytest

from kidney_seg.metrics.lesion_detection import SIZE_CLASSES, SPECK_ML, detect, size_class

MM = (5.0, 2.0, 1.0)  # a voxel is .01 mL
SHAPE = (6, 20, 60)


def bar(start: int, stop: int, z: int = 1, mask: np.ndarray | None = None) -> np.ndarray:
    """Voxels `start` to `stop` along x in a row of slice `z`."""
    mask = np.zeros(SHAPE, bool) if mask is None else mask
    mask[z, 3, start:stop] = True
    return mask


def test_a_tumor_found_by_hand():
    lesions, false = detect(bar(0, 20), bar(10, 25), MM)
    assert len(lesions) == 1 and false == 0
    (lesion,) = lesions
    assert lesion.volume_ml == pytest.approx(0.2)
    assert lesion.diameter_mm == 19.0
    assert lesion.dice == 2 * 10 / (20 + 15)
    assert lesion.found


def test_a_touch_is_no_hit():
    """Intersection over union of 2 of 30 is below .1: the tumor is missed and the prediction false."""
    lesions, false = detect(bar(0, 20), bar(18, 30), MM)
    assert (lesions[0].found, false) == (False, 1)
    assert lesions[0].dice == 2 * 2 / 32
    lesions, false = detect(bar(0, 20), bar(17, 30), MM)  # 3 of 30
    assert (lesions[0].found, false) == (True, 0)


def test_missed_false_and_nothing():
    nothing = np.zeros(SHAPE, bool)
    lesions, false = detect(bar(0, 20), nothing, MM)
    assert [(lesion.found, lesion.dice) for lesion in lesions] == [(False, 0.0)] and false == 0
    assert detect(nothing, bar(0, 20), MM) == ([], 1)
    assert detect(nothing, nothing, MM) == ([], 0)
    two = bar(40, 50, z=4, mask=bar(0, 20))
    lesions, false = detect(bar(0, 20), two, MM)
    assert (lesions[0].found, lesions[0].dice, false) == (True, 1.0, 1)


def test_one_prediction_over_two_tumors_finds_both():
    truth = bar(30, 40, mask=bar(0, 20))
    lesions, false = detect(truth, bar(0, 40), MM)
    # each against the prediction less the other tumor: 20 of 30 and 10 of 20
    assert [lesion.found for lesion in lesions] == [True, True] and false == 0
    assert [lesion.dice for lesion in lesions] == [2 * 20 / (20 + 30), 2 * 10 / (10 + 20)]
    assert [lesion.volume_ml for lesion in lesions] == pytest.approx([0.2, 0.1])  # the largest first


def test_two_predictions_in_one_tumor_are_one_find():
    lesions, false = detect(bar(0, 20), bar(12, 20, mask=bar(0, 8)), MM)
    assert (lesions[0].found, false) == (True, 0)
    assert lesions[0].dice == 2 * 16 / 36


def test_specks_do_not_count():
    assert SPECK_ML == 0.05
    truth = bar(50, 54, z=4, mask=bar(0, 5))  # .05 mL and .04 mL
    lesions, false = detect(truth, truth, MM)
    assert len(lesions) == 1 and false == 0
    assert detect(bar(0, 5), bar(50, 54), MM)[1] == 0
    assert detect(bar(0, 5), bar(50, 55), MM)[1] == 1
    lesions, _ = detect(bar(0, 20), bar(0, 4), MM)  # a prediction of a speck finds nothing
    assert (lesions[0].found, lesions[0].dice) == (False, 0.0)


def test_objects_touch_by_corners():
    truth = np.zeros(SHAPE, bool)
    truth[1, 3, :5] = truth[2, 4, 5:10] = True
    assert len(detect(truth, truth, MM)[0]) == 1


def test_size_classes():
    assert [size_class(mm) for mm in (0.0, 20.0, 20.1, 40.0, 70.0, 70.1)] == [
        SIZE_CLASSES[n] for n in (0, 0, 1, 1, 2, 3)
    ]
