"""Find the scans to predict: files, DICOM folders, folders of cases, and lists of these."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.errors import InputError
from data_prep.formats.image_source import stem_of
from data_prep.volume import read_volume

if TYPE_CHECKING:
    from data_prep.geometry.volume import Volume

_PLAIN_NAMES = ("imaging", "dicom")  # files and folders that are named after their case folder


@dataclass(frozen=True)
class Scan:
    """One scan to predict. name: of its case and its output files; image, series: as for `read_volume`."""

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
    """Return the scans of `inputs`, and whether they are a single scan: one file or one folder of DICOM files.

    Args:
        inputs: files, folders of DICOM files, folders of cases, or `@FILE`: a text file with one of these per line,
            relative to its folder; empty lines and lines that start with `#` are skipped.
        images: file pattern of the folders of cases.
        split, part: only the patients of one set.
        series: of the only folder of DICOM files.

    Raises:
        InputError: no scan, two scans of one name, or a name that a file cannot have. A file of a list that does not
            exist is reported when it is read.
    """
    paths = [path for given in inputs for path in _listed(str(given))]
    if len(paths) > 1 and series is not None:
        raise InputError(f"--series {series}: selects in one folder of DICOM files, found {len(paths)} inputs")
    single = len(paths) == len(inputs) == 1
    scans: list[Scan] = []
    for path in paths:
        if single and not path.exists():
            raise InputError("no such file or folder", path=path, code="no_such_file")
        found = _cases(path, images, split, part) if path.is_dir() and series is None else None
        single = single and found is None
        scans += [Scan(_name(path), path, series)] if found is None else found
    if not single:
        _check_names(scans)
    return scans, single


def read_scan(scan: Scan, for_seg: bool = False) -> Volume:
    """Return the voxels of a scan; `for_seg`: with what a DICOM SEG needs. InputError as for `read_volume`."""
    if not for_seg:
        return read_volume(scan.image, scan.series)
    if not scan.image.is_dir():
        raise InputError("is no DICOM series, which a DICOM SEG must refer to; omit --dicom-seg", path=scan.image)
    from data_prep.dicom.reader import open_series
    from data_prep.dicom.seg_writer import values_to_empty

    volume = read_volume(series := open_series(scan.image, scan.series, for_seg=True))
    if not (emptied := values_to_empty(series)):
        return volume
    note = f"a DICOM SEG cannot hold the series' {', '.join(emptied)}: left empty there"
    return replace(volume, notes=(*volume.notes, note))


def _listed(given: str) -> list[Path]:
    if not given.startswith("@"):
        return [Path(given)]
    path = Path(given[1:])
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error}); expected a text file with one path per line", path=path) from None
    paths = [path.parent / line for line in lines if line and not line.startswith("#")]
    if not paths:
        raise InputError("names no scan; expected one path per line", path=path)
    return paths


def _name(path: Path) -> str:
    path = path if path.name not in ("", "..") else Path(os.path.abspath(path))
    stem = stem_of(path)
    return Path(os.path.abspath(path)).parent.name if stem.lower() in _PLAIN_NAMES else stem


def _cases(folder: Path, images: str | None, split: str | Path | None, part: str) -> list[Scan] | None:
    """Return the cases of a folder of cases; None for a folder of DICOM files."""
    from data_prep.datasets.kits import find_cases
    from data_prep.dicom.headers import holds_dicom
    from data_prep.split.sets import patients_of

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
            raise InputError(f"no case of the {part} patients of {split} is here", path=folder)
    return [Scan(case.name, case.image) for case in cases]


def _check_names(scans: Sequence[Scan]) -> None:
    from data_prep.files.names import printable, safe_name

    for scan in scans:
        if not safe_name(scan.name):
            raise InputError(f"{printable(scan.image)}: cannot name a file {printable(scan.name)}; rename it")
    (name, count), *_ = Counter(scan.name for scan in scans).most_common(1)
    if count > 1:
        both = " and ".join(str(scan.image) for scan in scans if scan.name == name)
        raise InputError(f"{both} would both be written as {name}; rename one, or predict them into two folders")
