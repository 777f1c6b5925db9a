"""JSON values as declared types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from data_prep.files.typed import typed


@dataclass(frozen=True)
class Case:
    name: str
    spacing_mm: tuple[float, float, float]
    ml: float | None = None
    more: dict[str, Any] = field(default_factory=dict)


def test_values_become_what_is_declared() -> None:
    made = typed(Case, {"name": "a", "spacing_mm": [3, 0.8, 0.8], "ml": 2})
    assert made == Case("a", (3, 0.8, 0.8), 2)
    assert typed(list[Case | None], [None, {"name": "a", "spacing_mm": [1, 1, 1]}])[1] == Case("a", (1, 1, 1))
    assert typed(bool, True) is True and typed(tuple[int, ...], []) == ()


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (int, True, "found True, expected int"),
        (int, 2**63, "found 9223372036854775808, expected int"),
        (float, float("nan"), "found nan, expected float"),
        (float, 10**400, "expected float"),
        (str, 7, "found 7, expected str"),
        (float | None, "x", "found 'x', expected float | None"),
        (list[int], {"a": 1}, "expected list"),
        (dict[str, int], {"a": {"b": 1}}, "a: found {'b': 1}, expected int"),
        (Case, [], "found [], expected Case"),
        (Case, {"name": "a", "spacing_mm": [1, 1]}, "spacing_mm: found [1, 1], expected tuple"),
        (Case, {"name": "a"}, "spacing_mm is missing"),
        (Case, {"name": "a", "spacing_mm": [1, 1, 1], "x": 0}, "found 'x', expected only name, spacing_mm, ml, more"),
        (list[Case | None], [{"name": 1, "spacing_mm": [1, 1, 1]}], "[0].name: found 1, expected str"),
    ],
)
def test_anything_else_is_named_with_its_place(kind: Any, value: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        typed(kind, value)
    assert message in str(caught.value) and "\n" not in str(caught.value)
