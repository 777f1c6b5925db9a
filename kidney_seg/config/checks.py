"""Settings as dataclass fields: default, help, source, and the checks shared by all sections."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import field, fields
from typing import Any

from data_prep.errors import InputError
from data_prep.files.typed import shown

LARGEST = 1e15


def setting(default: Any, help: str, source: str, least: float | None = None, choices: Sequence[str] = ()) -> Any:
    """Return a dataclass field with its help, the source of its default, and what `Section` checks.

    `source`: `paper`, `C` (Abraham and Khan's code) or `J` (our judgment), with a remark or without.
    """
    return field(default=default, metadata={"help": help, "source": source, "least": least, "choices": choices})


def choice(choices: Sequence[str], help: str, source: str) -> Any:
    """Return the `setting` of one of some names; the default is the first."""
    return setting(choices[0], help, source, choices=choices)


class Section:
    """Base of the settings' dataclasses: checks the values against the metadata of their fields."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value, choices, least = getattr(self, item.name), item.metadata["choices"], item.metadata["least"]
            if choices:
                check_choice(item.name, value, choices)
            if least is not None:
                check(value >= least, item.name, value, f"{least} or more")
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, float):  # the files of a run hold no larger ones
                    check(abs(number) <= LARGEST, item.name, number, f"a number of at most {LARGEST:g}")


def check(valid: bool, name: str, found: Any, expected: str) -> None:
    """Raise InputError for the setting `name` unless it is `valid`."""
    if not valid:
        raise InputError(f"setting {name}: found {shown(found)}, expected {expected}")


def check_choice(name: str, found: Any, choices: Iterable[str]) -> None:
    """Raise InputError for an unknown value, with the known ones and the one closest to it."""
    choices = list(choices)
    near = difflib.get_close_matches(shown(found).strip("'"), choices, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    check(found in choices, name, found, "one of " + ", ".join(choices) + hint)


def refuse_gamma(gamma: Any) -> None:
    """Raise InputError for `gamma`, which some publications define as the exponent and others as its inverse."""
    try:
        inverse, same = f"exponent={1 / float(gamma):.4g}", f"exponent={float(gamma):.4g}"
    except (TypeError, ValueError, ArithmeticError):
        inverse, same = "exponent=1/gamma", "exponent=gamma"
    raise InputError(
        f"setting gamma: found {shown(gamma)}, expected exponent, the power of 1 - TI; the gamma of the Focal Tversky "
        f"paper is its inverse, (1 - TI)^(1/gamma): give {inverse} for that, or {same} if the power is meant"
    )
