"""Check one case: whether its files can be read, the image holds CT, and the labels fit the image."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.check.findings import KINDS, Finding, finding, loss_findings
from data_prep.check.image import PERCENTILES, ImageSurvey, Problems, image_problems, survey_image
from data_prep.check.labels import LabelSurvey, label_problems, survey_labels
from data_prep.datasets.metadata import SPACINGS, expected_spacing_mm
from data_prep.errors import InputError, is_out_of_memory
from data_prep.files.names import printable
from data_prep.formats.gzip_stream import GZIP_MAGIC
from data_prep.geometry.grid_loss import grid_loss
from data_prep.geometry.network_grid import DEFAULT_SETTINGS, GridSettings
from data_prep.geometry.placement import place_labels
from data_prep.geometry.volume import Volume
from data_prep.labels import CYST, cysts_to_kidney
from data_prep.volume import read_labels, read_volume

SPACING_TOLERANCE = 0.01  # relative; KiTS19's headers equal its kits.json


@dataclass(frozen=True)
class Task:
    """One case to check; image or labels may be None and are then not checked.

    grid: of a future cache. strict: what its labels lose there is an error.
    """

    case: str
    image: Path | None
    labels: Path | None
    metadata: dict[str, Any] | None = None
    grid: GridSettings = DEFAULT_SETTINGS
    strict: bool = False


@dataclass(frozen=True)
class CaseReport:
    """Result of one case. facts: JSON values; sha256: of the voxels in axial order, or None."""

    case: str
    facts: dict[str, Any]
    findings: tuple[Finding, ...]
    image_sha256: str | None = None
    label_sha256: str | None = None


def check_case(task: Task) -> CaseReport:
    """Check one case; every file is read once. An unforeseen exception becomes the finding `unexpected`, or
    `no_memory`, which says nothing of the case.
    """
    try:
        return _check_case(task)
    except Exception as error:  # one broken case must not stop the others; its text could hold anything
        code, what = "unexpected", f"the check ended with {type(error).__name__}"
        if is_out_of_memory(error):
            code, what = "no_memory", "not checked: not enough memory"
        return CaseReport(task.case, {}, (finding(task.case, code, what),))


def _check_case(task: Task) -> CaseReport:
    image, labels = task.image, task.labels
    found: list[tuple[str, str]] = []
    facts: dict[str, Any] = {}
    volume = seen = marked = loss = None
    if image is not None and (volume := _read(read_volume, image, found)) is not None:
        seen = survey_image(volume.voxels, volume.spacing_mm)
        found += [*_notes(image, volume)]
        found += [(code, f"{image.name}: {what}") for code, what in image_problems(seen)]
        found += _spacing_problems(seen.spacing_mm, task.metadata)
        facts |= _image_facts(volume, seen)
    if labels is not None and (label_volume := _read(read_labels, labels, found)) is not None:
        hu = misfit = None
        if volume is not None:
            try:
                label_volume, hu = place_labels(label_volume, volume.source), volume.voxels
            except InputError as error:
                misfit = (error.code, error.detail)
        found += [*_notes(labels, label_volume)]
        if side := re.search(r"(?<![a-z])(left|right)(?![a-z])", labels.name.lower()):
            what = f"its name says {side[1]}: the mask of one kidney? merge the masks (docs/howto/recipes.md)"
            found.append(("label_numbers", f"{labels.name}: {what}"))
        marked = survey_labels(label_volume.voxels, label_volume.spacing_mm, hu)
        problems = (*([misfit] if misfit else ()), *label_problems(marked))
        found += [(code, f"{labels.name}: {what}") for code, what in problems]
        if volume is None:  # else the image's spacing was compared
            found += _spacing_problems(label_volume.spacing_mm, task.metadata)
        facts |= _label_facts(marked)
        loss = grid_loss(cysts_to_kidney(label_volume.voxels), label_volume.spacing_mm, task.grid)
        facts["loss"] = asdict(loss)
        if _is_kits19_case_23(task, labels, marked):
            what = "KiTS19's label of this case is known to be poor (Dice of the tumor .02 against KiTS23's)"
            found.append(("poor_label", what))
    return CaseReport(
        task.case,
        facts,
        (
            *(finding(task.case, code, what) for code, what in found),
            *loss_findings(task.case, loss, strict=task.strict),
        ),
        seen.sha256 if seen is not None else None,
        marked.sha256 if marked is not None and any(marked.voxels[1:]) else None,
    )


def _read(read: Callable[[Path], Volume], path: Path, found: list[tuple[str, str]]) -> Volume | None:
    try:
        volume = read(path)
        if not path.name.endswith(".gz") or _first_bytes(path) == GZIP_MAGIC:
            return volume
        code, detail = "wrong_name", "is not compressed, but its name ends in .gz"  # some readers refuse it
    except InputError as error:
        code = error.code if error.code in KINDS else "unreadable"
        inside = f"{error.path.name}: " if error.path not in (None, path) else ""  # a file of a DICOM series
        code, detail = _access_problem(path) or (code, inside + error.detail)
    except MemoryError:
        code, detail = "no_memory", "not checked: not enough memory to read it"
    found.append((code, f"{path.name}: {detail}"))
    return None


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(len(GZIP_MAGIC))


def _access_problem(path: Path) -> tuple[str, str] | None:
    try:
        if path.is_dir():
            os.listdir(path)
        elif os.stat(path) and path.is_file():  # not a pipe, which would block
            _first_bytes(path)
    except FileNotFoundError:
        return "missing_file", "is a link to a file that does not exist" if path.is_symlink() else "does not exist"
    except PermissionError:
        return "no_permission", "you may not read it"
    except OSError as error:
        return "not_a_file", f"cannot be opened ({error.strerror})"
    return None


def _notes(path: Path, volume: Volume) -> Problems:
    for note in volume.notes:
        yield getattr(note, "code", "reader_note"), f"{path.name}: {note}"


def _spacing_problems(spacing_mm: tuple[float, float, float], metadata: dict[str, Any] | None) -> Problems:
    differing = [
        f"{name} {found:.4g} mm instead of {wanted:.4g} mm"
        for name, found, wanted in zip(SPACINGS, spacing_mm, expected_spacing_mm(metadata), strict=True)
        if wanted is not None and not math.isclose(found, wanted, rel_tol=SPACING_TOLERANCE)
    ]
    if differing:
        yield "spacing_differs", f"differs from the data set's JSON: {', '.join(differing)}"


def _is_kits19_case_23(task: Task, labels: Path, marked: LabelSurvey) -> bool:
    later = marked.voxels[CYST] > 0 or (labels.parent / "instances").exists()  # KiTS21 and KiTS23 drew it again
    return task.case == "case_00023" and not later and "z_spacing" in (task.metadata or {})


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
