"""Which scans a command is to predict: files, DICOM folders, folders of cases, lists of these."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.datasets.kits import find_cases
from data_prep.errors import InputError
from data_prep.files.names import printable, safe_name
from data_prep.formats.image_source import FILE_ENDINGS
from data_prep.split.sets import patients_of

_PLAIN_NAMES = ("imaging", "dicom")  # of files and folders that their case folder gives the name


@dataclass(frozen=True)
class Scan:
    """One scan to predict. name: of its case, and of the files made for it; image, series: as for `read_volume`."""

    name: str
    image: Path
    series: str | None = None


def find_scans(
    inputs: Sequence[str | Path],
    images: str | None = None,
    split: str | Path | None = None,
    part: str = "test",
    series: str | None = None,
) -> tuple[list[Scan], bool]:
    """Return the scans that `inputs` name, and whether they are one scan by itself.

    Each of `inputs` is a file, a folder of DICOM files, a folder of cases (`images`: their pattern, `split` and `part`:
    only one set's patients), or `@FILE`: a text file that names one of these a line, relative to its own folder; empty
    lines and such that start with `#` count for nothing. One scan by itself is a single input that is a file or a
    folder of DICOM files. Of a file that is not there, the error comes when it is read; InputError for no scan at all,
    for two of one name, and for names that files cannot have.
    """
    paths = [path for given in inputs for path in _listed(str(given))]
    if len(paths) > 1 and series is not None:
        raise InputError(f"--series {series}: chooses in one folder of DICOM files, but {len(paths)} inputs are given")
    single = len(paths) == len(inputs) == 1
    scans: list[Scan] = []
    for path in paths:
        if single and not path.exists():
            raise InputError(f"{path}: no such file or folder")
        found = _cases(path, images, split, part) if path.is_dir() and series is None else None
        single = single and found is None
        scans += [Scan(_name(path), path, series)] if found is None else found
    if not single:
        _check_names(scans)
    return scans, single


def _listed(given: str) -> list[Path]:
    if not given.startswith("@"):
        return [Path(given)]
    path = Path(given[1:])
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this list cannot be read ({error}); expected a text file, a path a line") from None
    paths = [path.parent / line for line in lines if line and not line.startswith("#")]
    if not paths:
        raise InputError(f"{path}: this list names no scan; expected a path a line")
    return paths


def _name(path: Path) -> str:
    path = path if path.name not in ("", "..") else path.resolve()
    stem = next((path.name.removesuffix(end) for end in FILE_ENDINGS if path.name.endswith(end)), path.name)
    return path.resolve().parent.name if stem.lower() in _PLAIN_NAMES else stem


def _cases(folder: Path, images: str | None, split: str | Path | None, part: str) -> list[Scan] | None:
    """Return the cases of a folder of cases; None for a folder of DICOM files."""
    from data_prep.dicom.headers import holds_dicom

    try:
        cases, problems = find_cases(folder, images)
    except InputError:
        if images or split or not holds_dicom(folder):
            raise
        return None
    for problem in problems:
        if problem.code != "no_labels":  # they are not needed here
            print(f"note: {problem}", file=sys.stderr)
    if split:
        patients = patients_of(split, part)
        cases = [case for case in cases if case.patient in patients]
        if not cases:
            raise InputError(f"{folder}: no case of the {part} patients of {split} is here")
    return [Scan(case.name, case.image) for case in cases]


def _check_names(scans: Sequence[Scan]) -> None:
    for scan in scans:
        if not safe_name(scan.name):
            raise InputError(f"{printable(scan.image)}: cannot name a file {printable(scan.name)}; rename it")
    (name, count), *_ = Counter(scan.name for scan in scans).most_common(1)
    if count > 1:
        both = " and ".join(str(scan.image) for scan in scans if scan.name == name)
        raise InputError(f"{both} would both be written as {name}; rename one, or predict them into two folders")
