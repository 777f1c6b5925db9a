"""Uncertainty of means over patients: bootstrap intervals, paired differences, and a permutation test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from kidney_seg.metrics.missing import existing, exists

RESAMPLES = 9999
CONFIDENCE = 0.95
EXACT_PATIENTS = 13  # up to here the permutation test takes all 2^n signs


def mean_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval (low, high) of the mean over patients; see `ratio_interval`.

    `values`: one per patient; NaN is left out, fewer than two give (NaN, NaN). The same seed gives the same interval.
    """
    kept = existing(values)
    return ratio_interval([kept], [np.ones_like(kept)], seed)


def ratio_interval(sums: Sequence[np.ndarray], counts: Sequence[np.ndarray], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of sum(sums[k]) / sum(counts[k]) over k, resampling patients.

    Bias-corrected and accelerated (Efron 1987), with the levels widened for few patients as a t interval is
    (Hesterberg 2015, "expanded percentile"). Resamples without any case of a score do not count.

    `sums`, `counts`: per score float [patients], its sum over the patient's cases and their number; two scores give the
    interval of the mean of two means, such as the average of Table 1. (NaN, NaN) for fewer than two patients.
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
    """Return the two-sided p of the paired permutation test (sign flips) of "the mean difference is 0".

    `differences`: one per patient; NaN is left out, and none at all gives NaN. Up to `EXACT_PATIENTS` the p is exact;
    beyond, it is from `RESAMPLES` random flips and the observed one, so that it is never 0. The result is that of
    scipy.stats.permutation_test, which takes 5 to 200 times as long and refuses a single patient.
    """
    kept = existing(differences)
    if not len(kept):
        return math.nan
    if len(kept) <= EXACT_PATIENTS:
        flips = 1 - 2.0 * (np.arange(2 ** len(kept))[:, None] >> np.arange(len(kept)) & 1)
    else:
        flips = 1 - 2.0 * np.random.default_rng(seed).integers(0, 2, (RESAMPLES, len(kept)))
        flips = np.concatenate([np.ones((1, len(kept))), flips])
    sums = np.abs(flips @ kept)
    return float(np.mean(sums >= sums[0] * (1 - 1e-12)))  # the first row flips nothing; rounding must not decide ties


def by_patient(rows: Sequence[Mapping], key: str) -> dict[str, float]:
    """Return the mean of a column per patient, whose rows are cases or runs; None and NaN are left out.

    >>> rows = [{"patient": "a", "dice": 0.5}, {"patient": "a", "dice": 0.7}, {"patient": "b", "dice": None}]
    >>> by_patient(rows, "dice")
    {'a': 0.6}
    """
    found: dict[str, list[float]] = {}
    for row in rows:
        if exists(row[key]):
            found.setdefault(row["patient"], []).append(float(row[key]))
    return {patient: float(np.mean(values)) for patient, values in sorted(found.items())}


def paired_difference(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[float, float, float, int]:
    """Return (mean, low, high, patients) of second - first over the patients in both; NaN without any."""
    differences = paired(first, second)
    mean = float(np.mean(differences)) if differences else math.nan
    return mean, *mean_interval(differences), len(differences)


def paired(first: Mapping[str, float], second: Mapping[str, float]) -> list[float]:
    """Return second - first of the patients in both, sorted by patient."""
    return [second[patient] - first[patient] for patient in sorted(set(first) & set(second))]


@lru_cache(maxsize=4)
def _times_drawn(patients: int, seed: int) -> np.ndarray:
    """Return how often each patient occurs in each resample: float64 [RESAMPLES, patients]."""
    times = np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), RESAMPLES)
    return times.astype(float)


def _levels(draws: np.ndarray, left_one_out: np.ndarray, patients: int) -> np.ndarray:
    """Return the two quantile levels that bound the interval; draws are centered on the observed value."""
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
