"""What the tests' own comparison of labels lets pass, and what not."""

from __future__ import annotations

import numpy as np
import pytest

from support.helpers import NEAR_TIE, assert_same_labels

CLEAR = np.tile(np.float32([0.1, 0.3, 0.6]), (20, 20, 1))
LABELS = np.full((20, 20), 2, np.uint8)


def changed(label: int) -> np.ndarray:
    labels = LABELS.copy()
    labels[3, 4] = label
    return labels


def near(gap: float) -> np.ndarray:
    """Kidney behind tumor by `gap` at the pixel that is changed."""
    probabilities = CLEAR.copy()
    probabilities[3, 4] = 0.1, 0.45 - gap / 2, 0.45 + gap / 2
    return probabilities


def test_equal_labels_and_a_pixel_at_a_near_tie_pass():
    assert_same_labels(LABELS, LABELS, CLEAR)
    for found, expected in ((changed(1), LABELS), (LABELS, changed(1))):
        assert_same_labels(found, expected, near(NEAR_TIE / 2))


@pytest.mark.parametrize(
    ("label", "probabilities"),
    [(1, CLEAR), (1, near(2 * NEAR_TIE)), (0, near(NEAR_TIE / 2))],
    ids=["clear", "not near enough", "not one of the two"],
)
def test_one_other_pixel_of_400_fails(label, probabilities):
    for found, expected in ((changed(label), LABELS), (LABELS, changed(label))):
        with pytest.raises(AssertionError, match="1 of 400 differ"):
            assert_same_labels(found, expected, probabilities)


def test_a_network_of_no_opinion_and_other_shapes_or_types_fail():
    with pytest.raises(AssertionError):
        assert_same_labels(LABELS, LABELS, np.full_like(CLEAR, 1 / 3))
    with pytest.raises(AssertionError):
        assert_same_labels(LABELS[:5], LABELS[:5], CLEAR)
    with pytest.raises(AssertionError):
        assert_same_labels(LABELS.astype(int), LABELS, CLEAR)
