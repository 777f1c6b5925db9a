"""The series in a folder of DICOM files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.dicom.headers import CT, FolderScan, SliceHeader, scan_folder
from data_prep.errors import InputError


@dataclass(frozen=True)
class Series:
    """A series, named by a number and a key instead of its UID, which is an identifier."""

    number: int  # from 1, in the order of the series' first files
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
    """Group the images of a scan by series; InputError if there is none."""
    if not scan.images:
        found = f"{scan.files - len(scan.unread)} other files" + f"; {scan.reasons}" * bool(scan.unread)
        found += f"; {scan.links} links, which are not followed" if scan.links else ""
        detail = f"no DICOM image in this folder ({found}); expected the slices of a CT series"
        raise InputError(detail, scan.folder, "no_dicom")
    groups: dict[str, list[SliceHeader]] = {}
    for image in scan.images:
        groups.setdefault(image.series, []).append(image)
    series = []
    for number, (key, images) in enumerate(groups.items(), 1):
        # a localizer may share its series with the slices that were planned on it
        usable = [image for image in images if image.kind == CT] or images
        series.append(Series(number, key, usable[0].modality, usable[0].kind, tuple(usable)))
    return series
