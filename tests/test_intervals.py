"""Intervals of means against the normal formula and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kidney_seg.intervals import by_patient, mean_interval, paired_difference


def test_interval_is_near_the_normal_formula_s():
    values = np.random.default_rng(0).normal(0.6, 0.2, 400)
    low, high = mean_interval(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.002)


def test_interval_of_few_values():
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    low, high = mean_interval([0.0, 1.0])
    assert (low, high) == (0.0, 1.0)
    assert mean_interval([0.2, 0.4, math.nan]) == mean_interval([0.2, 0.4])
    assert all(math.isnan(end) for values in ([], [0.3], [0.3, math.nan]) for end in mean_interval(values))


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(100):
        low, high = mean_interval(rng.normal(0.5, 0.1, 40))
        inside += low <= 0.5 <= high
    assert 88 <= inside <= 100  # 95 expected; 88 is three standard errors less


def test_cases_and_seeds_of_a_patient_count_once():
    rows = [
        {"patient": "b", "dice": 1.0},
        {"patient": "a", "dice": 0.2},
        {"patient": "a", "dice": 0.6},
        {"patient": "c", "dice": None},
        {"patient": "d", "dice": math.nan},
    ]
    assert by_patient(rows, "dice") == {"a": pytest.approx(0.4), "b": 1.0}


def test_paired_difference_by_hand():
    first, second = {"a": 0.5, "b": 0.6, "c": 0.1}, {"a": 0.7, "b": 0.7, "d": 0.9}
    mean, low, high, patients = paired_difference(first, second)
    assert (mean, patients) == (pytest.approx(0.15), 2)
    assert (low, high) == (pytest.approx(0.1), pytest.approx(0.2))
    assert paired_difference({"a": 0.5}, {"b": 0.5})[3] == 0
    assert math.isnan(paired_difference({"a": 0.5}, {"b": 0.5})[0])
