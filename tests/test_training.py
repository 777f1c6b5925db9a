"""The rate's course, and one network trained again and again."""

from __future__ import annotations

import numpy as np
import pytest

from kidney_seg.training import rate_at


def test_rate_rises_then_falls_to_one_percent():
    rates = [rate_at(step, 101, 2.0, 0.2) for step in range(101)]
    assert rates[:20] == pytest.approx([0.1 * (step + 1) for step in range(20)])
    assert rates[20] == pytest.approx(2.0)
    assert rates[60] == pytest.approx(2.0 * (0.01 + 0.99 / 2))  # half way down
    assert rates[-1] == pytest.approx(0.02)
    assert (np.diff(rates[20:]) < 0).all()


def test_rate_of_the_shortest_rounds():
    assert rate_at(0, 1, 1.0, 0.0) == 1.0
    assert rate_at(1, 2, 1.0, 0.5) == 1.0
