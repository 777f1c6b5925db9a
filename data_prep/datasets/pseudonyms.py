"""Pseudonyms of cases and patients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from data_prep.datasets.kits import Case
from data_prep.errors import InputError

DIGITS = 12  # 48 bits: two of a thousand cases collide in about one of half a billion data sets


def pseudonymous(cases: Sequence[Case], image_sha256: Mapping[str, str]) -> list[Case]:
    """Return the cases under pseudonyms; their files stay the same.

    A case is named `case-` and the first 12 hex digits of its image's SHA-256, so that nothing of its name can be
    guessed; the dash distinguishes it from `case_NNNNN`, which means a patient in KiTS. A patient is named as the one
    of their cases whose pseudonym sorts first, so that their cases stay together; this changes if a case is added that
    sorts first.

    Args:
        cases: the cases.
        image_sha256: of each case's image, by case name.

    Raises:
        InputError: two cases have the same image; they would get one name.

    >>> from pathlib import Path
    >>> pseudonymous([Case("DOE_JANE", "DOE_JANE", Path("a.nii"), None)], {"DOE_JANE": "5f" * 32})[0].patient
    'case-5f5f5f5f5f5f'
    """
    by_name: dict[str, Case] = {}
    of_patient: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        name = f"case-{image_sha256[case.name][:DIGITS]}"
        if name in by_name:
            raise InputError(
                f"{case.name} and {by_name[name].name}: hold the same image and would get one pseudonym; "
                "remove one of them"
            )
        by_name[name] = case
        of_patient[case.patient].append(name)
    first = {patient: min(names) for patient, names in of_patient.items()}
    return [replace(case, name=name, patient=first[case.patient]) for name, case in by_name.items()]
