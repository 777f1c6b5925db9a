"""The folder layout of KiTS19, 21 and 23, and THE table of labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.command import InputError

CLASS_NAMES = ("background", "kidney", "tumor")  # the index is the label, in caches and predictions
CYST = 3  # in source files of KiTS21 and KiTS23 only; kidney in caches, as in KiTS19

_PATIENT = re.compile(r"case_\d{5}")


@dataclass(frozen=True)
class Case:
    """One scan. name: its folder's; patient: whose it is, the unit of splits; labels: None if it has none.

    metadata: what the data set's `kits.json` says of the case (plain numbers, texts, booleans), None without one.
    """

    name: str
    patient: str
    image: Path
    labels: Path | None
    metadata: dict[str, Any] | None = None


def patient_of(name: str) -> str:
    """Return the `case_NNNNN` at the start of a case's name, or the whole name where it does not start so.

    >>> patient_of("case_00135_s0103"), patient_of("liver-7")
    ('case_00135', 'liver-7')
    """
    match = _PATIENT.match(name)
    return match.group() if match else name


def find_cases(root: str | Path) -> tuple[list[Case], list[str]]:
    """Find the cases `root/<case>/imaging.nii.gz` with `segmentation.nii.gz` (or `.nii`), sorted by name.

    `root` may be one case folder, too. Returns the cases, and one line for each problem: a case without
    imaging (left out) or without labels (kept, usable for prediction only). Other folders and files are
    passed over. InputError where `root` is not a folder or holds no case.
    """
    root = Path(root)
    if not root.exists():
        raise InputError(f"{root}: there is no such folder")
    if not root.is_dir():
        raise InputError(f"{root}: is a file; expected a folder of cases, each with imaging.nii.gz")
    is_case = _file(root, "imaging") is not None or _file(root, "segmentation") is not None
    folders = [root] if is_case else sorted(path for path in root.iterdir() if path.is_dir())
    cases: list[Case] = []
    problems: list[str] = []
    for folder in folders:
        name = folder.resolve().name if is_case else folder.name  # `.` has no name of its own
        image, labels = _file(folder, "imaging"), _file(folder, "segmentation")
        if image is None:
            if labels is not None or _PATIENT.match(name):
                problems.append(f"{name}: has no imaging.nii.gz: left out")
            continue
        if labels is None:
            problems.append(f"{name}: has no labels: usable for prediction only")
        cases.append(Case(name, patient_of(name), image, labels))
    if not cases:
        found = f"{len(problems)} case folders without imaging" if problems else "no case folder"
        raise InputError(f"{root}: found {found}; expected folders such as case_00000 with imaging.nii.gz in each")
    return cases, problems


def _file(folder: Path, stem: str) -> Path | None:
    return next((path for end in (".nii.gz", ".nii") if (path := folder / (stem + end)).exists()), None)
