"""Checks that the settings share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from data_prep.errors import InputError


def check(valid: bool, setting: str, found: Any, expected: str) -> None:
    """Raise the InputError of a bad setting unless it is `valid`."""
    if not valid:
        raise InputError(f"setting {setting}: found {found!r}, expected {expected}")


def check_choice(setting: str, found: Any, choices: Iterable[str]) -> None:
    """Raise the InputError of an unknown name, with the known ones and the nearest of them."""
    choices = list(choices)
    near = difflib.get_close_matches(str(found), choices, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    check(found in choices, setting, found, "one of " + ", ".join(choices) + hint)


def refuse_gamma(gamma: Any) -> None:
    """Raise the InputError that `gamma` gets: half of the world's code means the power by it, half its inverse."""
    try:
        power = f"exponent={1 / float(gamma):.4g}"
        itself = f"exponent={float(gamma):.4g}"
    except (TypeError, ValueError, ZeroDivisionError):
        power, itself = "exponent=1/gamma", "exponent"
    raise InputError(
        f"setting gamma: found {gamma!r}, expected exponent, the power of 1 - TI itself; the gamma of the Focal "
        f"Tversky paper is its inverse, (1 - TI)^(1/gamma): give {power} for that, or {itself} if the power is meant"
    )
