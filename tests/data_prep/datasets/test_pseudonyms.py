from __future__ import annotations

from pathlib import Path

import pytest
from support.helpers import one_line

from data_prep.datasets.kits import Case, patient_of
from data_prep.datasets.pseudonyms import pseudonymous
from data_prep.errors import InputError


def case(name: str, patient: str) -> Case:
    return Case(name, patient, Path(name) / "imaging.nii.gz", None, {"age": 61})


def test_cases_and_patients_are_called_by_hashes_and_stay_together() -> None:
    cases = [case("b2", "B"), case("a", "A"), case("b1", "B")]
    hashes = {"b2": "c" * 64, "a": "12345" + "0" * 59, "b1": "3" * 64}
    renamed = pseudonymous(cases, hashes)
    assert [(one.name, one.patient) for one in renamed] == [
        ("case-cccccccccccc", "case-333333333333"),
        ("case-123450000000", "case-123450000000"),
        ("case-333333333333", "case-333333333333"),
    ]
    assert [(one.image, one.metadata) for one in renamed] == [(one.image, one.metadata) for one in cases]
    assert pseudonymous(cases[::-1], hashes) == renamed[::-1]
    # where names alone are at hand, five digits must not be taken for a patient of KiTS
    assert patient_of(renamed[1].name) == renamed[1].patient


def test_one_image_twice_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        pseudonymous([case("a", "A"), case("b", "B")], {"a": "0" * 64, "b": "0" * 64})
    assert "b and a: hold the same image" in one_line(caught)
