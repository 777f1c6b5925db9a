"""Recognize what was dropped or typed: an image file, a DICOM series, a case with its truth, existing labels."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_prep.datasets.kits import Case, find_cases
from data_prep.dicom.archives import unpacked
from data_prep.dicom.choice import choose_series
from data_prep.dicom.headers import holds_dicom, scan_folder
from data_prep.dicom.listing import list_for_screen
from data_prep.dicom.series import series_of
from data_prep.dicom.studies import is_packed
from data_prep.errors import InputError
from data_prep.formats.image_source import FILE_ENDINGS, stem_of
from data_prep.scans import Choice, find_scans
from kidney_seg.app.entries import Source
from kidney_seg.results.record import read_record

KINDS = {".nii.gz": "NIfTI", ".nii": "NIfTI", ".nrrd": "NRRD", ".mha": "MetaImage", ".zip": "DICOM"}  # by ending
_UNKNOWN = f"expected a file that ends in {', '.join(KINDS)} (DICOM: a zip file of its folder)"


def ending_of(name: str) -> str:
    """Return the ending of a file's name that says what it is; InputError for a file that cannot be read.

    >>> ending_of("Jane Doe.NII.GZ"), ending_of("study.zip")
    ('.nii.gz', '.zip')
    """
    found = next((ending for ending in KINDS if name.lower().endswith(ending)), None)
    if found is None:
        raise InputError(f"this file cannot be read; {_UNKNOWN}", code="wrong_name")
    return found


def open_paths(scan: str, labels: str = "", truth: str = "") -> tuple[str, Source]:
    """Return the kind and source of paths that the user typed; InputError if there is no such thing.

    scan: an image file, a zip file, a folder of DICOM files, or the folder of one case, whose truth is taken too.
    labels, truth: label files, or folders in which a file has the scan's name; empty for none.
    """
    path = _existing(scan, "scan")
    true = _existing(truth, "truth") if truth else None
    found = _existing(labels, "labels") if labels else None
    names = [stem_of(path)]
    if path.is_dir() and not holds_dicom(path):
        path, own = _case_in(path)
        names.append(path.parent.name)
        true = true or own
    elif path.name.endswith(FILE_ENDINGS) and stem_of(path) == "imaging":
        names.append(path.parent.name)
    kind = "DICOM" if path.is_dir() else KINDS[ending_of(path.name)]
    return kind, Source(path, _label_file(found, names, "labels"), _label_file(true, names, "truth"))


def _existing(text: str, what: str) -> Path:
    path = Path(os.path.expanduser(text.strip()))
    if not text.strip() or not path.is_absolute():
        raise InputError(f"{what}: expected a whole path on this computer, such as /home/me/scans/one", code="no_path")
    if not path.exists():
        raise InputError(f"{what}: no such file or folder on this computer", path, "no_such_file")
    return path


def _case_in(folder: Path) -> tuple[Path, Path | None]:
    cases = _cases(folder)
    if not cases:  # the folder of one case: its parent holds cases
        cases = [case for case in _cases(folder.parent) if case.image.parent == folder]
    if len(cases) != 1:
        listed = ", ".join(case.name for case in cases[:5])
        detail = f"holds {len(cases)} cases ({listed}, ...)" if cases else "holds no scan"
        raise InputError(f"{detail}; expected DICOM files, or the folder of one case", folder, "no_scan")
    return cases[0].image, cases[0].labels


def _cases(folder: Path) -> list[Case]:
    try:
        return find_cases(folder)[0]
    except InputError:  # there is none
        return []


def _label_file(path: Path | None, names: list[str], what: str) -> Path | None:
    """Return a label file: `path`, or the one in this folder with one of the names, or its only one."""
    if path is None or path.is_file():
        return path
    files = [one for one in sorted(path.iterdir()) if one.name.endswith(FILE_ENDINGS) and one.is_file()]
    if any(read_record(one.with_name(f"{stem_of(one)}.json")) for one in files):  # a folder that `predict` wrote
        files = [one for one in files if one.with_name(f"{stem_of(one)}.json").exists()]
    named = [one for one in files if stem_of(one) in names] or files
    if len(named) != 1:
        raise InputError(
            f"{what}: {len(files)} label files, none of this scan's name; give one file", path, "no_labels"
        )
    return named[0]


def series_to_choose(source: Source) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the CT series of a DICOM source, and notes; no series if there is nothing to choose.

    Each is {"series": key or None for the one that `predict` takes, "text": what tells it from the others}, that one
    first. InputError if none can be read.
    """
    if not (source.scan.is_dir() or is_packed(source.scan)):
        return [], []
    notes: list[str] = []
    scans, _ = find_scans([source.scan], Choice(all_series=True), log=notes.append)
    if len(scans) == 1 and scans[0].problem is not None:
        raise scans[0].problem
    readable = [scan for scan in scans if scan.problem is None and scan.series]
    if len(readable) < 2:
        return [], notes
    with ExitStack() as stack:
        folder = stack.enter_context(unpacked(source.scan)) if is_packed(source.scan) else source.scan
        headers = scan_folder(folder)
        lines = list_for_screen(headers)
        series = series_of(headers)
        texts = {one.key: ". ".join(lines[2 * n : 2 * n + 2]) for n, one in enumerate(series)}
        one_study = len({image.study for one in series for image in one.images}) == 1
        chosen = choose_series(headers, None)[0].key
    found = [
        {"series": scan.series, "text": " ".join(texts.get(scan.series or "", scan.name).split())} for scan in readable
    ]
    found.sort(key=lambda one: one["series"] != chosen)
    if one_study and found[0]["series"] == chosen:
        found[0]["series"] = None
    return found, notes


def with_series(source: Source, series: str | None) -> Source:
    """Return the source with the series that the user chose."""
    return replace(source, series=series)
