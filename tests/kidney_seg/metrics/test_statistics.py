"""Intervals and the permutation test: by hand, by simulation, and against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from kidney_seg.metrics.statistics import (
    by_patient,
    mean_interval,
    paired,
    paired_difference,
    permutation_p,
    ratio_interval,
)

RUNS = 1000


def tumor_dice(rng, patients):
    """Dice as tumors have it: a quarter missed, the others skewed."""
    return np.where(rng.random(patients) < 0.25, 0.0, rng.beta(5, 2, patients))


SAMPLES = {  # name: (draw, true mean)
    "normal": (lambda rng, patients: rng.normal(0.5, 0.1, patients), 0.5),
    "tumor Dice": (tumor_dice, 0.75 * 5 / 7),
    "differences of tumor Dice": (lambda rng, n: 0.9 * tumor_dice(rng, n) - 0.8 * tumor_dice(rng, n), 0.075 * 5 / 7),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_interval_covers_the_truth_as_often_as_it_says(name):
    draw, mean = SAMPLES[name]
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(RUNS):
        low, high = mean_interval(draw(rng, 40))
        inside += low <= mean <= high
    assert 930 <= inside <= 970


def test_interval_is_near_the_normal_formula_s():
    values = np.random.default_rng(0).normal(0.6, 0.2, 400)
    low, high = mean_interval(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.002)


def test_interval_is_near_scipy_s():
    """SciPy's BCa has the same bias and acceleration; the widening for 400 patients is slight."""
    values = np.random.default_rng(0).lognormal(0, 1, 400)
    found = stats.bootstrap((values,), np.mean, n_resamples=9999, rng=np.random.default_rng(1)).confidence_interval
    width = found.high - found.low
    assert mean_interval(values) == pytest.approx((found.low, found.high), abs=0.03 * width)
    percentile = np.mean(values) - 1.96 * values.std(ddof=1) / 20
    assert mean_interval(values)[0] - percentile > 0.05 * width  # skewed: not the normal formula's


def test_interval_of_few_values():
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    low, high = mean_interval([0.0, 1.0])
    assert (low, high) == (0.0, 1.0)
    assert mean_interval([0.2, 0.4, math.nan]) == mean_interval([0.2, 0.4])
    assert all(math.isnan(end) for values in ([], [0.3], [0.3, math.nan]) for end in mean_interval(values))


def test_interval_of_a_ratio_and_of_two():
    """Patients with several cases weigh as many; the average of two equal figures has the interval of one."""
    values, ones = np.array([0.2, 0.9, 0.4, 0.7, 0.1]), np.ones(5)
    alone = mean_interval(values)
    assert ratio_interval([values * 3], [ones * 3]) == pytest.approx(alone)
    assert ratio_interval([values, values], [ones, ones]) == pytest.approx(alone)
    low, high = ratio_interval([values * [9, 1, 1, 1, 1]], [np.array([9.0, 1, 1, 1, 1])])
    assert low < alone[0] + 0.1 and high < alone[1]  # most cases are of the patient with .2


def test_permutation_by_hand():
    # of the 8 signs of (1, 2, 3) only all and none reach 6
    assert permutation_p([1.0, 2.0, 3.0]) == 2 / 8
    assert permutation_p([0.1, 0.2, -0.3]) == 1.0
    assert permutation_p([0.0, 0.0]) == 1.0
    assert permutation_p([0.5, math.nan]) == 1.0
    assert math.isnan(permutation_p([]))


@pytest.mark.parametrize("patients", [9, 40])
def test_permutation_is_scipy_s(patients):
    values = np.random.default_rng(3).normal(0.05, 0.15, patients)
    expected = stats.permutation_test(
        (values, np.zeros_like(values)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20000,
        rng=np.random.default_rng(4),
    ).pvalue
    assert permutation_p(values) == pytest.approx(expected, abs=1e-12 if patients < 10 else 0.01)


@pytest.mark.parametrize("patients", [12, 30])
def test_permutation_is_uniform_under_no_difference(patients):
    rng = np.random.default_rng(5)
    found = [permutation_p(tumor_dice(rng, patients) - tumor_dice(rng, patients)) for _ in range(RUNS)]
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert 30 <= np.sum(np.array(found) <= 0.05) <= 70  # 50 expected; 20 is three standard errors


def test_permutation_sees_a_difference():
    assert permutation_p(np.random.default_rng(6).normal(0.2, 0.1, 40)) == 1 / 10000


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
    assert paired(first, second) == pytest.approx([0.2, 0.1])
    mean, low, high, patients = paired_difference(first, second)
    assert (mean, patients) == (pytest.approx(0.15), 2)
    assert (low, high) == (pytest.approx(0.1), pytest.approx(0.2))
    assert paired_difference({"a": 0.5}, {"b": 0.5})[3] == 0
    assert math.isnan(paired_difference({"a": 0.5}, {"b": 0.5})[0])
