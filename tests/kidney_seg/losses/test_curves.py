"""The original's NaN, its absence here, and the curves' ends by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kidney_seg.losses.curves import along_a_training, draw, original_focal_tversky, value_and_slope
from kidney_seg.losses.functional import focal_tversky

TRUTH = np.array([1.0, 1, 1, 0, 0, 0]).reshape(1, 6, 1, 1)


def test_the_original_has_no_slope_at_a_perfect_prediction():
    value, slope = value_and_slope(original_focal_tversky, TRUTH, TRUTH)
    assert value == 0 and np.isnan(slope).any()
    value, slope = value_and_slope(focal_tversky, TRUTH, TRUTH)
    assert value == 0 and np.isfinite(slope).all() and slope.any()


def test_the_two_agree_elsewhere():
    predicted = np.array([1.0, 1, 0, 1, 0, 0]).reshape(1, 6, 1, 1)
    value, _ = value_and_slope(original_focal_tversky, TRUTH, predicted)
    assert value == pytest.approx((1 - 3 / 4) ** 0.75, rel=1e-5)  # (2 + 1) / (2 + 0.7 + 0.3 + 1)
    assert value == pytest.approx(float(focal_tversky(TRUTH, predicted)), rel=1e-5)


def test_curves():
    curves = along_a_training(alpha=0.7, exponent=0.75)
    assert curves["missing"][0] == pytest.approx((700 / 701) ** 0.75, rel=1e-5)  # 1000 voxels missed
    assert curves["spilling"][0] == pytest.approx((300 / 1301) ** 0.75, rel=1e-5)  # 1000 found, 1000 called in error
    assert curves["missing"][-1] == curves["spilling"][-1] == 0
    assert (np.diff(curves["missing"]) < 0).all()
    assert len(draw(0.7, 0.75).axes) == 2
