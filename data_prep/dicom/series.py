"""The series in a folder of DICOM files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.dicom.headers import CT, FolderScan, SliceHeader, scan_folder
from data_prep.dicom.studies import place_of, study_key
from data_prep.errors import InputError


@dataclass(frozen=True)
class Series:
    """A series, named by a number and a key instead of its UID, which is an identifier."""

    number: int  # from 1 in each study, in the order of the series' first files
    key: str  # `series_key` of its UID
    modality: str
    kind: str  # of its images; `CT image` if it can be read
    images: tuple[SliceHeader, ...] = field(repr=False)  # those of this kind

    @property
    def plane(self) -> str:
        """`axial`, `coronal` or `sagittal`, whichever is nearest; empty if no image has an orientation."""
        known = next((image.orientation for image in self.images if image.orientation), None)
        if known is None:
            return ""
        normal = np.cross(known[:3], known[3:])
        return ("sagittal", "coronal", "axial")[int(np.abs(normal).argmax())]

    def __str__(self) -> str:
        columns, rows = self.images[0].size
        what = f"{self.plane} {self.kind}s".strip() if self.modality == "CT" else self.modality
        size = f" of {columns} x {rows} pixels" if columns else ""
        return f"series {self.number} ({self.key}): {len(self.images)} {what}{size}"


def list_series(folder: str | Path) -> list[Series]:
    """Return the series of all DICOM images in a folder and its subfolders; InputError if there is none."""
    return series_of(scan_folder(folder))


def series_of(scan: FolderScan) -> list[Series]:
    """Group the images of a scan by series, numbered in each study as all commands do; InputError if there is none."""
    if not scan.images:
        found = f"{scan.files - len(scan.unread)} other files" + f"; {scan.reasons}" * bool(scan.unread)
        found += f"; {scan.links} links, which are not followed; give their targets" if scan.links else ""
        detail = f"no DICOM image in this folder ({found}); expected the slices of a CT series"
        raise InputError(detail, scan.folder, "no_dicom")
    groups: dict[str, list[SliceHeader]] = {}
    for image in scan.images:
        groups.setdefault(image.series, []).append(image)
    series = []
    counts: Counter[str] = Counter()
    for key, images in groups.items():
        counts[study := study_key(images[0], place_of(images[0]))] += 1
        # a localizer may share its series with the slices that were planned on it
        usable = [image for image in images if image.kind == CT] or images
        series.append(Series(counts[study], key, usable[0].modality, usable[0].kind, tuple(usable)))
    return series


def problem_of_references(slices: Sequence[SliceHeader]) -> str:
    """Return why no SEG can refer to slices, by what every reader of their headers keeps; empty if one can."""
    for name, values in (
        ("SOPInstanceUID", [image.instance for image in slices]),
        ("FrameOfReferenceUID", [image.frame for image in slices]),
    ):
        if lacking := values.count(""):
            return f"{lacking} of {len(slices)} slices have no {name}, which a DICOM SEG must refer to"
    if len({image.instance for image in slices}) < len(slices):
        return "several slices have the same SOPInstanceUID, so a DICOM SEG cannot tell them apart"
    for name, count in (
        ("StudyInstanceUID", len({image.study for image in slices})),
        ("FrameOfReferenceUID", len({image.frame for image in slices})),
    ):
        if count > 1:
            return f"the slices have {count} values of {name}, of which a DICOM SEG has one"
    return ""
