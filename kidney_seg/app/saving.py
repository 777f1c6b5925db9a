"""The files that the page saves: what `predict` writes, in the formats that it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep.errors import InputError
from data_prep.scans import Choice, find_scans, read_scan
from data_prep.version import code_version
from data_prep.volume import read_labels, write_labels
from kidney_seg.app.entries import DONE, Entry
from kidney_seg.results.page import page
from kidney_seg.results.record import PROGRAM
from kidney_seg.results.rows import read_rows, table

SAVED = {".nii.gz": "NIfTI", ".seg.nrrd": "3D Slicer", ".dcm": "DICOM SEG", ".csv": "numbers, CSV", ".json": "JSON"}


def saved_file(entry: Entry, ending: str) -> Path:
    """Return a file of an entry's result in the format of `ending`, one of `SAVED`; it is written when first asked for.

    InputError: there is no result yet, or no such format of this scan.
    """
    if entry.state != DONE or ending not in SAVED:
        raise InputError("there is no such file to save", code="no_result")
    path = entry.labels.with_name(f"{entry.name}{ending}")
    if not path.exists():
        if ending == ".seg.nrrd" and entry.grid is not None:
            write_labels(read_labels(entry.labels).voxels, entry.grid, path)
        elif ending == ".dcm":
            _write_seg(entry, path)
        elif ending == ".csv":
            path.write_bytes(table(_rows(entry)).encode(errors="backslashreplace"))
    return path


def print_page(entry: Entry) -> str:
    """Return the page to print as HTML: the overview that `predict` writes, of this scan alone. InputError as above."""
    if entry.state != DONE:
        raise InputError("there is no result yet", code="no_result")
    return page(entry.labels.parent, _rows(entry))


def _rows(entry: Entry) -> list:
    return [row for row in read_rows(entry.labels.parent) if row.name == entry.name]


def _write_seg(entry: Entry, path: Path) -> None:
    if not entry.is_dicom:
        raise InputError("a DICOM SEG refers to DICOM files, and this scan is none", code="no_dicom")
    from data_prep.dicom.seg_writer import write_dicom_seg

    source = entry.source
    scans, _ = find_scans([source.scan], Choice(series=source.series, for_seg=True), log=lambda line: None)
    volume = read_scan(scans[0], for_seg=True)
    labels = np.ascontiguousarray(read_labels(entry.labels).voxels)
    write_dicom_seg(labels, volume, path, algorithm_name=PROGRAM, algorithm_version=code_version())
