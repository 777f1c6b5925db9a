"""Names of scans, and so of their output files: safe, unique, and without the patient's name unless asked for."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_prep.dicom.archives import ZIP
from data_prep.dicom.studies import Identity, Study
from data_prep.errors import InputError
from data_prep.files.names import LONGEST_NAME, printable, safe_name
from data_prep.scans.scan import Scan

BY_FOLDER, BY_PATIENT_ID, BY_KEY = "folder", "patient-id", "key"
NAME_BY = (BY_FOLDER, BY_PATIENT_ID, BY_KEY)
PLAIN_NAMES = ("imaging", "dicom", "dicomdir")  # files and folders that are named after their case folder

_UID = re.compile(r"[\d.]{16,}")  # in the name of a folder it identifies the study
_SHORT = 4  # letters: shorter parts of a patient's name must be whole words, as in "li"


def study_name(study: Study, root: Path, by: str = BY_FOLDER) -> str:
    """Return the name of a study: of its folder below `root`, else of `root`; `study-KEY` where nothing is left of it.

    by: `folder` (UIDs, and parts that hold the patient's name or ID unless the header says that
    these were removed, are left out), `patient-id` or `key`.
    """
    key = f"study-{study.key}"
    if by == BY_KEY:
        return key
    if by == BY_PATIENT_ID:
        return _safe(study.identity.patient_id) or key
    inside = os.path.relpath(study.folder, root)
    parts = list(Path(inside).parts) if inside != "." else []
    root_name = Path(os.path.abspath(root)).name
    for some in (parts, [root_name], [Path(os.path.abspath(root)).parent.name]):
        named = [part[: -len(ZIP)] if part.lower().endswith(ZIP) else part for part in some]
        kept = [part for part in named if part.lower() not in PLAIN_NAMES and not _identifies(part, study.identity)]
        if kept:
            return _safe("_".join(kept)) or key
        if len(kept) < len([part for part in named if part.lower() not in PLAIN_NAMES]):
            break  # left out because it identifies
    return key


def unique(scans: Sequence[Scan], keys: Sequence[str]) -> list[Scan]:
    """Return the scans with names of their own: those that share one get their keys, if they have any.

    InputError if two share a name nevertheless, or for a name that a file cannot have.
    """
    count = Counter(scan.name.casefold() for scan in scans)
    named = [
        replace(scan, name=_cut(scan.name, f"-{key}")) if key and count[scan.name.casefold()] > 1 else scan
        for scan, key in zip(scans, keys, strict=True)
    ]
    for scan in named:
        if not safe_name(scan.name):
            raise InputError(f"{printable(scan.image)}: cannot name a file {printable(scan.name)}; rename it")
    if not named:
        return named
    (name, most), *_ = Counter(scan.name.casefold() for scan in named).most_common(1)
    if most > 1:
        both = " and ".join(str(scan.image) for scan in named if scan.name.casefold() == name)
        raise InputError(f"{both} would both be written as {name}; rename one, or predict them into two folders")
    return named


def _identifies(part: str, identity: Identity) -> bool:
    """Return whether part of a path holds a part of the patient's name, the ID, or a UID."""
    if _UID.search(part):
        return True
    if identity.removed:
        return False
    lower = part.lower()
    whole = set(re.split(r"[\W_]+", lower))
    name, patient_id = (text.lower().strip() for text in (identity.name, identity.patient_id))
    words = [word for word in re.split(r"[\W_]+", name) if len(word) > 1]
    if any(word in whole or (len(word) >= _SHORT and word in lower) for word in words):
        return True
    return len(patient_id) > 1 and (patient_id in whole or (len(patient_id) >= _SHORT and patient_id in lower))


def _safe(text: str) -> str:
    """Return a text as a safe name, other characters as `_`; empty if none is left."""
    kept = "".join(letter if letter.isalnum() or letter in "-_.^ ()" else "_" for letter in text)
    kept = kept.strip().lstrip(".-")[:LONGEST_NAME].strip()
    return kept if safe_name(kept) else ""


def _cut(name: str, ending: str) -> str:
    return name[: LONGEST_NAME - len(ending)] + ending
