"""How sure a mean over patients is: bootstrap intervals, of one figure or of a paired difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

RESAMPLES = 9999
CONFIDENCE = 0.95


def mean_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval (low, high) of the mean; patients are what is drawn.

    `values`: one a patient; NaN is left out. (NaN, NaN) for fewer than two. The same values give the same interval.
    """
    from scipy.stats import bootstrap

    kept = np.asarray([value for value in values if np.isfinite(value)], float)
    if len(kept) < 2:
        return float("nan"), float("nan")
    found = bootstrap(
        (kept,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


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
    shared = sorted(set(first) & set(second))
    differences = [second[patient] - first[patient] for patient in shared]
    if not differences:
        return float("nan"), float("nan"), float("nan"), 0
    return float(np.mean(differences)), *mean_interval(differences), len(shared)
