"""Tuples of three, one value per axis of a volume, with their length in the type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

Value = TypeVar("Value")
Box = tuple[slice, slice, slice]  # part of a volume [z, y, x]


def triple(values: Iterable[Value]) -> tuple[Value, Value, Value]:
    """Return three values as a tuple; ValueError for any other number of them.

    >>> triple(2 * n for n in (1, 2, 3))
    (2, 4, 6)
    """
    first, second, third = values
    return first, second, third
