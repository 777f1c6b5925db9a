"""How sure a mean over patients is: bootstrap intervals, also of paired differences, and a permutation test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

RESAMPLES = 9999
CONFIDENCE = 0.95
EXACT_PATIENTS = 13  # up to here the permutation test goes through all 2^n signs


def mean_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval (low, high) of the mean; patients are what is drawn.

    `values`: one a patient; NaN is left out. (NaN, NaN) for fewer than two. The same values give the same interval.
    See `ratio_interval` for the method.
    """
    kept = np.asarray([value for value in values if np.isfinite(value)], float)
    return ratio_interval([kept], [np.ones_like(kept)], seed)


def ratio_interval(sums: Sequence[np.ndarray], counts: Sequence[np.ndarray], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the mean of sum(sums[k]) / sum(counts[k]) over k; patients are what is drawn.

    `sums[k]`, `counts[k]`: float [patients], the sum of a figure over a patient's cases and their number. One k is a
    mean over cases, some of the same patient; two are the mean of two means, as the average of Table 1 is.
    (NaN, NaN) for fewer than two patients.

    Bias-corrected and accelerated (Efron 1987), with the levels widened for few patients as a t interval is
    (Hesterberg 2015, "expanded percentile"). Draws without any case of a figure do not count.
    """
    patients = len(sums[0])
    if patients < 2:
        return math.nan, math.nan
    draws, left_one_out, mean = np.zeros(RESAMPLES), np.zeros(patients), 0.0
    times = _times_drawn(patients, seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # no case left: 0 / 0
        for total, count in zip(sums, counts, strict=True):
            center = total.sum() / count.sum()
            apart = total - center * count  # centered: equal values then give exactly themselves
            draws += times @ apart / (times @ count) / len(sums)
            left_one_out += -apart / (count.sum() - count) / len(sums)
            mean += center / len(sums)
    draws, left_one_out = draws[np.isfinite(draws)], left_one_out[np.isfinite(left_one_out)]
    low, high = np.quantile(draws, _levels(draws, left_one_out, patients))
    return float(mean + low), float(mean + high)


def permutation_p(differences: Sequence[float], seed: int = 0) -> float:
    """Return the two-sided p of the paired permutation test of "the mean difference is 0": signs are flipped.

    `differences`: one a patient; NaN is left out; NaN without any. Exact up to `EXACT_PATIENTS` patients, beyond
    that from `RESAMPLES` random flips and the found one itself, so that p is never 0.
    """
    kept = np.asarray([value for value in differences if np.isfinite(value)], float)
    if not len(kept):
        return math.nan
    if len(kept) <= EXACT_PATIENTS:
        flips = 1 - 2.0 * (np.arange(2 ** len(kept))[:, None] >> np.arange(len(kept)) & 1)
    else:
        flips = 1 - 2.0 * np.random.default_rng(seed).integers(0, 2, (RESAMPLES, len(kept)))
        flips = np.concatenate([np.ones((1, len(kept))), flips])
    sums = np.abs(flips @ kept)
    return float(np.mean(sums >= sums[0] * (1 - 1e-12)))  # flips[0] flips nothing; rounding must not decide ties


def by_patient(rows: Sequence[Mapping], key: str) -> dict[str, float]:
    """Return the mean of `key` over the rows of each patient (cases, or seeds); patients without a number are left out.

    Rows have `patient` and `key`, a number or None.

    >>> rows = [{"patient": "a", "dice": 0.5}, {"patient": "a", "dice": 0.7}, {"patient": "b", "dice": None}]
    >>> by_patient(rows, "dice")
    {'a': 0.6}
    """
    found: dict[str, list[float]] = {}
    for row in rows:
        if row[key] is not None and np.isfinite(row[key]):
            found.setdefault(row["patient"], []).append(float(row[key]))
    return {patient: float(np.mean(values)) for patient, values in sorted(found.items())}


def paired_difference(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[float, float, float, int]:
    """Return (mean, low, high, patients) of second - first over the patients that both have; NaN without any."""
    differences = paired(first, second)
    if not differences:
        return float("nan"), float("nan"), float("nan"), 0
    return float(np.mean(differences)), *mean_interval(differences), len(differences)


def paired(first: Mapping[str, float], second: Mapping[str, float]) -> list[float]:
    """Return second - first of the patients that both have, sorted by patient."""
    return [second[patient] - first[patient] for patient in sorted(set(first) & set(second))]


@lru_cache(maxsize=4)
def _times_drawn(patients: int, seed: int) -> np.ndarray:
    """Return how often each patient is in each resample: float64 [RESAMPLES, patients]."""
    times = np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), RESAMPLES)
    return times.astype(float)


def _levels(draws: np.ndarray, left_one_out: np.ndarray, patients: int) -> np.ndarray:
    """Return the two shares of the sorted draws that bound the interval; draws are about the found value, 0."""
    from scipy.special import ndtr, ndtri, stdtrit

    ends = ndtr(
        math.sqrt(patients / (patients - 1)) * stdtrit(patients - 1, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    )
    equal = 1e-12 * np.abs(draws).max()  # rounding must not decide on which side draws of the mean itself are
    below = (np.count_nonzero(draws < -equal) + np.count_nonzero(np.abs(draws) <= equal) / 2) / len(draws)
    bias = ndtri(np.clip(below, 1 / len(draws), 1 - 1 / len(draws)))
    slopes = left_one_out.mean() - left_one_out
    scale = 6 * np.sum(slopes**2) ** 1.5
    acceleration = np.sum(slopes**3) / scale if scale > 0 else 0.0
    shift = bias + np.clip(ndtri(ends), -8, 8)  # infinite for two patients
    return ndtr(bias + shift / (1 - acceleration * shift))
