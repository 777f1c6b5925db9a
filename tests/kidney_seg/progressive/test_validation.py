"""Validation of rounds: scores by hand, and every kind of collapse."""

from __future__ import annotations

import numpy as np
import pytest
from support.helpers import write_cache

from kidney_seg.progressive.validation import find_collapse, validate_round


@pytest.fixture
def manifest(tmp_path):
    label = np.zeros((2, 16, 16), np.uint8)
    label[0, :4, :4], label[0, 0, :4] = 1, 2  # 12 kidney and 4 tumor pixels; nothing in the other slice
    cases = {"case_00000": label, "case_00001": np.minimum(label, 1)}
    return write_cache(tmp_path, {name: (np.zeros(own.shape, np.int16), own) for name, own in cases.items()})


def answering(label):
    """A predictor that always gives this label map."""
    return lambda slices: np.eye(3, dtype=np.float32)[label]


def test_scores_by_hand(manifest):
    answer = np.zeros((2, 16, 16), np.uint8)
    answer[0, :4, :2], answer[0, 0, :2] = 1, 2  # 6 kidney and 2 tumor pixels, all right
    judged, worst = validate_round(answering(answer), manifest, manifest.entries, shown=1)
    assert judged.kidney == pytest.approx(2 * 8 / (16 + 8))
    # second case has no tumor, so its 2 pixels there are a false alarm: 0
    assert judged.tumor == pytest.approx((2 * 2 / (4 + 2) + 0) / 2)
    assert judged.score == pytest.approx((judged.kidney + judged.tumor) / 2)
    assert judged.trouble is None
    assert [case["case"] for case in judged.cases] == ["case_00000", "case_00001"]
    assert [case["tumor"] for case in judged.cases] == pytest.approx([2 / 3, 0.0])
    assert [picture.title for picture in worst] == ["case_00001, slice 0: kidney 0.67, tumor 0.00"]


def test_structure_absent_in_truth_and_prediction_is_left_out(manifest):
    second = manifest.entries[1:]
    answer = np.zeros((2, 16, 16), np.uint8)
    answer[0, :4, :4] = 1
    judged, worst = validate_round(answering(answer), manifest, second)
    assert worst == []
    assert (judged.kidney, judged.tumor, judged.score, judged.trouble) == (1.0, None, 1.0, None)


@pytest.mark.parametrize(
    ("true", "predicted", "words"),
    [
        ([900, 80, 20], [1000, 0, 0], "nothing but background"),
        ([900, 80, 20], [900, 100, 0], "almost no tumor"),
        ([900, 80, 20], [900, 100, 1], "almost no tumor"),
        ([900, 80, 20], [900, 30, 70], "tumor swallows kidney"),
        ([900, 30, 70], [900, 5, 95], "tumor swallows kidney"),
        ([900, 80, 20], [900, 80, 20], None),
        ([900, 80, 20], [900, 95, 5], None),
        ([900, 80, 20], [900, 50, 50], None),
        ([900, 100, 0], [900, 100, 0], None),
    ],
)
def test_collapses_are_named(true, predicted, words):
    found = find_collapse(np.array(true), np.array(predicted))
    assert found is None if words is None else words in found
