"""Names for cases and patients that say nothing of who they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from data_prep.datasets.kits import Case
from data_prep.errors import InputError

DIGITS = 12  # 48 bits: two of a thousand cases collide in about one of half a billion data sets


def pseudonymous(cases: Sequence[Case], image_sha256: Mapping[str, str]) -> list[Case]:
    """Return the cases under pseudonyms; their files stay the same. `image_sha256`: of each case, by its name.

    A case is called `case-` and the first 12 hex digits of its image's SHA-256. A patient is called as that of his
    cases whose name sorts first, so his cases stay together. Nothing of a name goes in, so none can be guessed; who
    has the image itself can tell. The dash keeps them apart from `case_NNNNN`, which means a patient in KiTS. A
    patient's pseudonym changes if a case that sorts first is added. InputError for two cases of one image: they would
    get one name.

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
                f"{case.name} and {by_name[name].name}: hold the same image, so one pseudonym would stand for both; "
                "remove one of them"
            )
        by_name[name] = case
        of_patient[case.patient].append(name)
    first = {patient: min(names) for patient, names in of_patient.items()}
    return [replace(case, name=name, patient=first[case.patient]) for name, case in by_name.items()]
