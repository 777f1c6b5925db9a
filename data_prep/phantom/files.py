"""Files of a simulated cohort: cases in the KiTS layout, and a record of its settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.datasets.cohorts import CASE_RECORD, COHORT_RECORD
from data_prep.errors import InputError
from data_prep.files.json_files import read_json, write_json
from data_prep.formats.image_writer import write_image
from data_prep.geometry.source_grid import SourceGrid
from data_prep.origin import SIMULATED_MARK
from data_prep.phantom.patient import Phantom
from data_prep.volume import check_whole

RECORD, FACTS = COHORT_RECORD, CASE_RECORD
IMAGE, LABELS = "imaging.nii.gz", "segmentation.nii.gz"
# KiTS: an array index of (slice, row, column) runs toward the feet, the back and the left; in SimpleITK it is x, y, z
KITS_DIRECTION = (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0)
_LEVEL = 1  # of zlib's 0 to 9: noise does not become smaller with more


def write_nifti(path: Path, voxels: np.ndarray, spacing_mm: Sequence[float]) -> None:
    """Write LPS axial voxels [z, y, x] with KiTS' axis order and affine (nibabel: (z, y, x), codes I, P, L).

    The header says that they are simulated.
    """
    # z is turned to run toward the feet, then the axes are reversed: the grid's own order is x, y, z
    stored = voxels[::-1].transpose(2, 1, 0)
    spacing = tuple(float(mm) for mm in spacing_mm)
    grid = SourceGrid(stored.shape[::-1], spacing, (0.0, 0.0, 0.0), KITS_DIRECTION)
    write_image(stored, grid, path, level=_LEVEL, mark=SIMULATED_MARK)


def write_patient(folder: Path, patient: Phantom) -> None:
    """Write a patient's image, labels and facts."""
    write_json(folder / FACTS, patient.facts)
    write_nifti(folder / IMAGE, patient.image, patient.spacing_mm)
    write_nifti(folder / LABELS, patient.labels, patient.spacing_mm)


def is_whole(folder: Path) -> bool:
    """Return whether image and labels of a case exist and are complete."""
    try:
        check_whole(folder / IMAGE)
        check_whole(folder / LABELS)
    except InputError:
        return False
    return True


def claim(out: Path, settings: dict, names: set[str]) -> None:
    """Make `out` the folder of a cohort: write its settings as a record, or compare with the existing record.

    Args:
        out: the folder.
        settings: JSON values that determine the cohort.
        names: of its case folders.

    Raises:
        InputError: the folder holds a cohort of other settings, or anything else.
    """
    if out.exists() and not out.is_dir():
        raise InputError("is a file; expected a folder for the simulated cohort", path=out)
    record = out / RECORD
    found = [path.name for path in out.iterdir() if not path.name.startswith(".")] if out.exists() else []
    if record.name in found:
        existing = read_json(record, "record of the simulated cohort")
        if existing != settings:
            raise InputError(
                f"holds a simulated cohort of other settings ({_differences(existing, settings)});"
                " use the same settings or another --out",
                path=out,
            )
    elif found:
        detail = f"is not empty (found {sorted(found)[0]}) and has no {RECORD}; choose a new or an empty folder"
        raise InputError(detail, path=out)
    strange = sorted(set(found) - names - {RECORD})
    if strange:
        raise InputError(f"holds {strange[0]}, which is not part of this cohort; move it away", path=out)
    if record.name not in found:
        try:
            write_json(record, settings)
        except (FileExistsError, NotADirectoryError):
            raise InputError("a part of this path is a file; choose another folder", path=out) from None


def _differences(existing: object, settings: dict) -> str:
    if not isinstance(existing, dict):
        return f"{RECORD} is not a table of settings"
    keys = [key for key in settings if existing.get(key) != settings[key]] or sorted(set(existing) - set(settings))
    return ", ".join(f"{key} {existing.get(key)}, asked for {settings.get(key)}" for key in keys)
