"""The series in a folder of DICOM files, and the choice of the one to read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.dicom.headers import (
    CAPTURE,
    CT,
    LOCALIZER,
    MULTI_FRAME,
    FolderScan,
    SliceHeader,
    files_named,
    scan_folder,
)
from data_prep.errors import InputError

_KEY_DIGITS = 4  # the fewest of a key that a user may type; shorter texts are numbers


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
        found = f"{scan.files} other files" + (f", {len(scan.damaged)} of them damaged DICOM" if scan.damaged else "")
        found += f" and {scan.links} links, which are not followed" if scan.links else ""
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


def choose_series(scan: FolderScan, wanted: str | int | None) -> tuple[Series, tuple[str, ...]]:
    """Return the series to read, and one note per decision.

    wanted: a number or (at least the first four digits of) a key. None: the CT series with most slices, axial before
    others, and among these reformatted ones (DERIVED, SECONDARY) last. InputError unless one CT series fits.
    """
    series = series_of(scan)
    readable = [one for one in series if one.kind == CT]
    if not readable:
        raise InputError(_none_readable(series), scan.folder)
    notes = []
    if wanted is not None:
        chosen = _wanted(series, str(wanted), scan.folder)
    else:
        chosen = max(readable, key=lambda one: (one.plane == "axial", not one.images[0].derived, len(one.images)))
        if len(readable) > 1:
            how = "the axial CT" if chosen.plane == "axial" else "none is axial, so the CT"
            longer = any(one.plane == chosen.plane and len(one.images) > len(chosen.images) for one in readable)
            most = "most slices that is not reformatted" if longer else "most slices"
            notes.append(
                f"{len(readable)} CT series found: read {how} with {most}, {chosen}; predict --series chooses another"
            )
    skipped = Counter(image.kind for image in scan.images if image.kind in (LOCALIZER, CAPTURE, MULTI_FRAME))
    notes += [f"{count} {kind} skipped" for kind, count in sorted(skipped.items())]
    if scan.damaged:
        notes.append(f"{len(scan.damaged)} files look like damaged DICOM and were skipped: {files_named(scan.damaged)}")
    return chosen, tuple(notes)


def _wanted(series: list[Series], wanted: str, folder: Path) -> Series:
    is_number = len(wanted) < _KEY_DIGITS
    found = [one for one in series if (str(one.number) == wanted if is_number else one.key.startswith(wanted.lower()))]
    if len(found) != 1:
        known = "; ".join(map(str, series))
        detail = f"series {wanted[:20]!a} fits {len(found)} series; expected one number or key of: {known}"
    elif found[0].kind != CT:
        detail = f"{found[0]}; expected a series of CT images"
    else:
        return found[0]
    raise InputError(detail, folder)


def _none_readable(series: list[Series]) -> str:
    if any(one.kind == MULTI_FRAME for one in series):
        return "the CT is a multi-frame (enhanced) file, which is not read; convert it to .nii.gz or to single slices"
    kinds = Counter(one.kind + "s" if one.modality == "CT" else one.modality for one in series)
    found = ", ".join(f"{kind} ({count} series)" for kind, count in sorted(kinds.items()))
    return f"no CT series in this folder; found {found}; expected CT slices"
