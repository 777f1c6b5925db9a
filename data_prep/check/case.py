"""One case before the doctor: are its files readable, does the image hold CT, do the labels fit it."""

from __future__ import annotations

import math
import os
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.check.findings import Finding, finding
from data_prep.check.image import PERCENTILES, ImageSurvey, image_findings, survey_image
from data_prep.check.labels import LabelSurvey, label_findings, survey_labels
from data_prep.datasets.metadata import SPACINGS, expected_spacing_mm
from data_prep.errors import InputError
from data_prep.files.names import printable
from data_prep.formats.image_source import FILE_ENDINGS
from data_prep.geometry.source_grid import same_grid
from data_prep.geometry.volume import Volume
from data_prep.labels import CYST
from data_prep.volume import read_labels, read_volume

SPACING_TOLERANCE = 0.01  # relative; KiTS19's headers equal its kits.json

# What the readers of data_prep.volume say, and the code for it; the first that fits. All else is `unreadable`.
_SAYINGS = {
    "NaN or infinite": "not_finite",
    "label values": "label_values",
    "rename it": "wrong_name",
    "truncated": "truncated",
    "is damaged": "damaged",
    "no NIfTI": "not_an_image",
    "by its first line": "not_an_image",  # NRRD, MetaImage
    "cannot be read as": "not_an_image",
    "slices are missing": "missing_slices",
    "inflates to more": "damaged",
}
_NIFTI_STARTS = [struct.pack(order + "i", length) for order in "<>" for length in (348, 540)]


@dataclass(frozen=True)
class CaseReport:
    """What the doctor says of one case. facts: plain values for the JSON; sha256: of voxels in axial order, or None."""

    case: str
    facts: dict[str, Any]
    findings: tuple[Finding, ...]
    image_sha256: str | None = None
    label_sha256: str | None = None


def check_case(name: str, image: Path | None, labels: Path | None, metadata: dict[str, Any] | None) -> CaseReport:
    """Check one case; any of image and labels may be None, and is then not judged. Every file is read once.

    Never raises for what is in the files: an exception that no rule foresees becomes the finding `unexpected`.
    """
    try:
        return _check_case(name, image, labels, metadata)
    except Exception as error:  # one broken case must not stop the others; its text could hold anything
        what = f"checking ended with {type(error).__name__}"
        return CaseReport(name, {}, (finding(name, "unexpected", what),))


def _check_case(name: str, image: Path | None, labels: Path | None, metadata: dict[str, Any] | None) -> CaseReport:
    found: list[tuple[str, str]] = []
    facts: dict[str, Any] = {}
    volume = seen = marked = None
    if image is not None and (volume := _read(read_volume, image, found)) is not None:
        seen = survey_image(volume.voxels, volume.spacing_mm)
        found += [("reader_note", f"{image.name}: {note}") for note in volume.notes]
        found += [(code, f"{image.name}: {what}") for code, what in (*_header_findings(image), *image_findings(seen))]
        found += _spacing_findings(seen.spacing_mm, metadata)
        facts |= _image_facts(volume, seen)
    if labels is not None:
        label_volume = _read(read_labels, labels, found)
        if label_volume is not None:
            found += [("reader_note", f"{labels.name}: {note}") for note in label_volume.notes]
            misfit = list(_misfit(volume, label_volume))
            hu = volume.voxels if volume is not None and not misfit else None
            marked = survey_labels(label_volume.voxels, label_volume.spacing_mm, hu)
            found += [(code, f"{labels.name}: {what}") for code, what in (*misfit, *label_findings(marked))]
            found += _type_findings(labels)
            if volume is None:  # the same grid as the image's, where there is one
                found += _spacing_findings(label_volume.spacing_mm, metadata)
            facts |= _label_facts(marked)
    if labels is not None and marked is not None and _is_kits19_case_23(name, labels, metadata, marked):
        what = "KiTS19's label of this case is known to be poor (Dice of the tumor .02 against KiTS23's)"
        found.append(("poor_label", what))
    return CaseReport(
        name,
        facts,
        tuple(finding(name, code, what) for code, what in found),
        seen.sha256 if seen is not None else None,
        marked.sha256 if marked is not None and any(marked.voxels[1:]) else None,
    )


def _read(read: Callable[[Path], Volume], path: Path, found: list[tuple[str, str]]) -> Volume | None:
    amiss = _unusable(path)
    if amiss is None:
        try:
            return read(path)
        except InputError as error:
            said = str(error).removeprefix(f"{path}: ").replace(str(path.parent) + os.sep, "")
            amiss = next((code for words, code in _SAYINGS.items() if words in said), "unreadable"), said
        except MemoryError:
            amiss = "unreadable", "there is not enough memory to read it; is the size in its header right?"
    found.append((amiss[0], f"{path.name}: {amiss[1]}"))
    return None


def _unusable(path: Path) -> tuple[str, str] | None:
    """Say why a path is nothing to read, before it is opened: a pipe would be waited for."""
    try:
        kind = os.stat(path)
        if stat.S_ISDIR(kind.st_mode) and not path.name.endswith(FILE_ENDINGS):
            os.listdir(path)  # a DICOM series
            return None
        if not stat.S_ISREG(kind.st_mode):
            return "not_a_file", f"is {_kind_of(kind.st_mode)}, not a file"
        with open(path, "rb") as file:
            start = file.read(4)
    except FileNotFoundError:
        return "missing_file", "is a link to a file that is not there" if path.is_symlink() else "is not there"
    except PermissionError:
        return "no_permission", "may not be read by you"
    except OSError as error:
        return "not_a_file", f"cannot be opened ({error.strerror})"
    if kind.st_size == 0:
        return "empty_file", "is empty"
    if not path.name.endswith(FILE_ENDINGS):
        return "wrong_name", f"the name ends in none of {', '.join(FILE_ENDINGS)}"
    if path.name.endswith(".gz") and start in _NIFTI_STARTS:
        return "wrong_name", "is not compressed, its name says otherwise"  # some readers take it, others do not
    return None


def _kind_of(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((word for test, word in kinds if test(mode)), "a device")


def _misfit(image: Volume | None, labels: Volume) -> Iterator[tuple[str, str]]:
    if image is None:
        return
    if labels.voxels.shape != image.voxels.shape:
        yield "shape_differs", f"has {labels.voxels.shape} voxels (z, y, x), the image {image.voxels.shape}"
    elif not same_grid(image.source, labels.source):
        parts = ("spacing", "origin", "direction")
        differing = [
            part
            for part in parts
            if not np.allclose(getattr(image.source, part), getattr(labels.source, part), atol=1e-3)
        ]
        yield "grid_differs", f"lies elsewhere than the image: {', '.join(differing) or 'its corners'} differ"


def _header(path: Path) -> Any | None:
    """Read a file's header with SimpleITK, None for a DICOM folder."""
    if path.is_dir():
        return None
    import SimpleITK as sitk

    warnings = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # notes on header style, many lines each
    try:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    except RuntimeError:
        return None  # the voxels were read, so nothing is lost but these checks
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warnings)
    return reader


def _header_findings(image: Path) -> Iterator[tuple[str, str]]:
    header = _header(image)
    if header is None:
        return
    codes = [header.GetMetaData(key) for key in ("qform_code", "sform_code") if header.HasMetaDataKey(key)]
    if codes and all(code.strip() == "0" for code in codes):
        yield "no_orientation", "the header does not say where left, front and head are (qform and sform code 0)"


def _type_findings(labels: Path) -> Iterator[tuple[str, str]]:
    import SimpleITK as sitk

    header = _header(labels)
    if header is not None and header.GetPixelID() in (sitk.sitkFloat32, sitk.sitkFloat64):
        kind = sitk.GetPixelIDValueAsString(header.GetPixelID())
        yield "label_type", f"{labels.name}: labels are stored as {kind}; the values are whole"


def _spacing_findings(
    spacing_mm: tuple[float, float, float], metadata: dict[str, Any] | None
) -> Iterator[tuple[str, str]]:
    expected = expected_spacing_mm(metadata)
    pairs = zip(SPACINGS, spacing_mm, expected, strict=True)
    apart = [
        f"{name} {found:.4g} mm instead of {wanted:.4g} mm"
        for name, found, wanted in pairs
        if wanted is not None and not math.isclose(found, wanted, rel_tol=SPACING_TOLERANCE)
    ]
    if apart:
        yield "spacing_differs", f"against the data set's JSON: {', '.join(apart)}"


def _is_kits19_case_23(name: str, labels: Path, metadata: dict[str, Any] | None, marked: LabelSurvey) -> bool:
    later = marked.voxels[CYST] > 0 or (labels.parent / "instances").exists()  # KiTS21 and KiTS23 drew it anew
    return name == "case_00023" and not later and "z_spacing" in (metadata or {})


def _image_facts(volume: Volume, seen: ImageSurvey) -> dict[str, Any]:
    low, high = seen.hu_range
    percentiles = {f"p{percent:g}": seen.percentile(percent) for percent in PERCENTILES}
    return {
        "shape_zyx": [int(n) for n in seen.shape_zyx],
        "spacing_mm": list(seen.spacing_mm),
        "orientation": printable(volume.source.orientation),
        "hu": {"min": low, **percentiles, "max": high},
        "voxels_sha256": seen.sha256,
    }


def _label_facts(marked: LabelSurvey) -> dict[str, Any]:
    return {
        "label_voxels": {str(label): number for label, number in enumerate(marked.voxels)},
        "kidney_ml": round(marked.kidney_ml, 3),
        "tumor_ml": round(marked.tumor_ml, 3),
        "bodies_ml": [round(ml, 3) for ml in marked.bodies_ml[:5]],
        "labels_sha256": marked.sha256,
    }
