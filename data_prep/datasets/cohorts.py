"""Which cohort a case belongs to: simulated, of KiTS19, 21 or 23, or another; by its files, names and headers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.formats.nifti import Marks, read_marks
from data_prep.origin import OTHER, SIMULATED, SIMULATED_MARK, UNKNOWN

COHORT_RECORD, CASE_RECORD = "phantom.json", "facts.json"  # of simulated patients
_AXES = "IPL"  # of the files of all three challenges; hardly any other program writes them so
_NUMBER = re.compile(r"case_(\d{5})(?!\d)")
_LAST_OF_KITS19, _OF_KITS23 = 299, range(400, 589)
_LABELS_OF_KITS21 = "aggregated_MAJ_seg"
_FOLDER_OF_KITS23 = "instances"


def kind_of_case(name: str, image: Path | None, labels: Path | None, metadata: Mapping[str, Any] | None = None) -> str:
    """Return the cohort of a case, one of `origin.KINDS`; `unknown` if no file can be read.

    Simulated: the mark in the header of its files, or the generator's records beside them. KiTS: the name has a number
    of that challenge, and either the files have the axis order of KiTS, or the case is in the data set's `kits.json`
    (`metadata`). KiTS21 by its majority labels; KiTS23 by its new numbers, or its folder `instances`.
    """
    files = [Path(os.path.realpath(path)) for path in (image, labels) if path is not None]  # links in a loop stay
    marks = [found for path in files if (found := _marks(path)) is not None]
    if any(SIMULATED_MARK in found.description for found in marks) or any(_has_records(path) for path in files):
        return SIMULATED
    number = _NUMBER.match(name)
    is_kits = metadata is not None or (bool(marks) and all(found.orientation == _AXES for found in marks))
    if number is not None and is_kits:
        if int(number[1]) in _OF_KITS23:
            return "kits23"
        if int(number[1]) <= _LAST_OF_KITS19:
            if any(path.name.startswith(_LABELS_OF_KITS21) for path in files):
                return "kits21"
            return "kits23" if any((path.parent / _FOLDER_OF_KITS23).is_dir() for path in files) else "kits19"
    return OTHER if marks or any(path.exists() for path in files) else UNKNOWN


def _marks(path: Path) -> Marks | None:
    with suppress(InputError, OSError, MemoryError):
        return read_marks(path)
    return None


def _has_records(path: Path) -> bool:
    places = (path.parent / CASE_RECORD, *(folder / COHORT_RECORD for folder in list(path.parents)[:3]))
    return any(_is_record(place) for place in places)


def _is_record(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and ({"seed", "hard"} <= set(content))
