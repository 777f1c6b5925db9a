"""Values of a JSON file as the types that the program declares; whatever else the file holds is refused."""

from __future__ import annotations

import dataclasses
import math
import reprlib
import types
import typing
from functools import lru_cache
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 3, 6, 80, 40, 80
_LARGEST = 2**63  # of whole numbers: NumPy and HDF5 hold none beyond


def typed(kind: Any, value: Any, where: str = "") -> Any:
    """Return a JSON value as `kind`, or raise ValueError with its place, what was found and what was expected.

    Args:
        kind: `str`, `int`, `float` (finite; also a whole number, which stays one), `bool`, `None`, `Any`, a union, a
            dataclass, or a list, tuple or dict of these. Lists become tuples where a tuple is declared. Fields that a
            dataclass does not have are refused, missing ones need a default.
        value: from `read_json`.
        where: name of the value in the message.

    >>> typed(dict[str, tuple[float, ...]], {"spacing": [1, 2.5]})
    {'spacing': (1, 2.5)}
    >>> typed(list[int], [1, "2"], "rounds")
    Traceback (most recent call last):
    ValueError: rounds[1]: found '2', expected int
    """
    if kind is Any:
        return value
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _one_of(parts, kind, value, where)
    if dataclasses.is_dataclass(kind):
        return _as_dataclass(typing.cast(type, kind), value, where)
    if origin in (list, tuple) and isinstance(value, list | tuple):
        each = parts[:1] * len(value) if origin is list or parts[1:] == (...,) else parts
        if len(each) == len(value):
            found = [typed(one, part, f"{where}[{n}]") for n, (one, part) in enumerate(zip(each, value, strict=True))]
            return found if origin is list else tuple(found)
    elif origin is dict and isinstance(value, dict):
        made = {key: typed(parts[1], part, f"{where}.{key}".lstrip(".")) for key, part in value.items()}
        return made
    elif origin is None and _is_plain(kind, value):
        return value
    raise _misfit(kind, value, where)


def _is_plain(kind: Any, value: Any) -> bool:
    if kind is float:
        return type(value) in (int, float) and -_LARGEST < value < _LARGEST and math.isfinite(value)
    if kind is int:
        return type(value) is int and -_LARGEST < value < _LARGEST
    return value is None if kind in (None, types.NoneType) else type(value) is kind


def _one_of(parts: tuple[Any, ...], kind: Any, value: Any, where: str) -> Any:
    for part in parts:
        try:
            return typed(part, value, where)
        except ValueError as error:
            if dataclasses.is_dataclass(part) and isinstance(value, dict):
                raise error
    raise _misfit(kind, value, where)


def _as_dataclass(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _misfit(kind, value, where)
    types_of, needed = _fields(kind)
    if unknown := [key for key in value if key not in types_of]:
        raise ValueError(f"{where}: found {unknown[0]!r}, expected only {', '.join(types_of)}".lstrip(": "))
    if missing := [name for name in needed if name not in value]:
        raise ValueError(f"{where}: {missing[0]} is missing".lstrip(": "))
    return kind(**{name: typed(types_of[name], part, f"{where}.{name}".lstrip(".")) for name, part in value.items()})


@lru_cache(maxsize=64)
def _fields(kind: Any) -> tuple[dict[str, Any], list[str]]:
    hints = typing.get_type_hints(kind)
    fields = [field for field in dataclasses.fields(kind) if field.init]
    none = dataclasses.MISSING
    needed = [field.name for field in fields if field.default is none and field.default_factory is none]
    return {field.name: hints[field.name] for field in fields}, needed


def shown(value: Any) -> str:
    """Return a value of a file as short text for an error, however large it is or deep it refers to itself.

    >>> shown([1, "two"]), shown(list(range(9)))
    ("[1, 'two']", '[0, 1, 2, 3, 4, 5, ...]')
    """
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number of thousands of digits"


def _misfit(kind: Any, value: Any, where: str) -> ValueError:
    text = shown(value).encode("ascii", "backslashreplace").decode()
    text = text if len(text) <= 40 else text[:37] + "..."
    expected = getattr(kind, "__name__", str(kind)) if typing.get_origin(kind) is None else str(kind)
    return ValueError(f"{where}: found {text}, expected {expected.replace('typing.', '')}".lstrip(": "))
