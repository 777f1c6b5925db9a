"""Scores that do not exist: NaN in Python, null in JSON, "-" in tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np


def exists(value: float | None) -> TypeGuard[float]:
    """Return whether a score is a finite number, neither None nor NaN."""
    return value is not None and math.isfinite(value)


def existing(values: Iterable[float | None]) -> np.ndarray:
    """Return the finite numbers of a column, float64 [n]; None and NaN are left out."""
    return np.array([value for value in values if exists(value)], float)


def none_to_nan(content: Any) -> Any:
    """Return a copy of JSON content with NaN for None, at any depth."""
    if isinstance(content, dict):
        return {key: none_to_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [none_to_nan(value) for value in content]
    return math.nan if content is None else content


def nan_to_none(content: Any) -> Any:
    """Return a copy as JSON stores it: None for NaN, lists for tuples, text for paths."""
    if isinstance(content, Mapping):
        return {key: nan_to_none(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [nan_to_none(value) for value in content]
    if isinstance(content, float) and math.isnan(content):
        return None
    return str(content) if isinstance(content, Path) else content


def format_score(value: float | None, decimals: int = 3) -> str:
    """Return a score as text, "-" for None and NaN.

    >>> format_score(0.5), format_score(None)
    ('0.500', '-')
    """
    return f"{value:.{decimals}f}" if exists(value) else "-"
