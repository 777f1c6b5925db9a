"""The files of a simulated cohort: cases in the KiTS layout, and the record that keeps cohorts apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.errors import InputError
from data_prep.files.atomic import replacing
from data_prep.files.json_files import read_json, write_json
from data_prep.phantom.patient import Phantom
from data_prep.volume import check_whole

RECORD = "phantom.json"
IMAGE, LABELS, FACTS = "imaging.nii.gz", "segmentation.nii.gz", "facts.json"
# KiTS: an array index of (slice, row, column) runs toward the feet, the back and the left; in SimpleITK it is x, y, z
KITS_DIRECTION = (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0)


def write_nifti(path: Path, voxels: np.ndarray, spacing_mm: Sequence[float]) -> None:
    """Write LPS axial voxels [z, y, x] with KiTS' axis order and affine (nibabel: (z, y, x), codes I, P, L)."""
    import SimpleITK as sitk

    # z is turned to run toward the feet, then the axes are reversed: SimpleITK's own order is x, y, z
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels[::-1].transpose(2, 1, 0)))
    image.SetSpacing([float(mm) for mm in spacing_mm])
    image.SetDirection(KITS_DIRECTION)
    with replacing(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True, compressionLevel=1)


def write_patient(folder: Path, patient: Phantom) -> None:
    """Write a patient's image, labels and facts."""
    write_json(folder / FACTS, patient.facts)
    write_nifti(folder / IMAGE, patient.image, patient.spacing_mm)
    write_nifti(folder / LABELS, patient.labels, patient.spacing_mm)


def is_whole(folder: Path) -> bool:
    """Whether image and labels of a case are there, undamaged and to the end."""
    try:
        check_whole(folder / IMAGE)
        check_whole(folder / LABELS)
    except InputError:
        return False
    return True


def claim(out: Path, settings: dict, names: set[str]) -> None:
    """Make `out` the folder of this cohort or raise InputError; first of all, so that two cohorts never mix.

    settings: what the cohort follows from, as JSON has it. names: of its case folders.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: this is a file; give a folder for the simulated cohort")
    record = out / RECORD
    found = [path.name for path in out.iterdir() if not path.name.startswith(".")] if out.exists() else []
    if record.name in found:
        there = read_json(record, "record of the simulated cohort")
        if there != settings:
            raise InputError(
                f"{out}: holds a simulated cohort of other settings ({_differences(there, settings)});"
                " give the same settings or another --out"
            )
    elif found:
        raise InputError(
            f"{out}: is not empty (found {sorted(found)[0]}) and has no {RECORD}; give a new or an empty folder"
        )
    strange = sorted(set(found) - names - {RECORD})
    if strange:
        raise InputError(f"{out}: holds {strange[0]}, which is not part of this cohort; move it away")
    if record.name not in found:
        try:
            write_json(record, settings)
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"{out}: a part of this path is a file; give another folder") from None


def _differences(there: object, settings: dict) -> str:
    if not isinstance(there, dict):
        return f"{RECORD} is not a table of settings"
    keys = [key for key in settings if there.get(key) != settings[key]] or sorted(set(there) - set(settings))
    return ", ".join(f"{key} {there.get(key)}, asked {settings.get(key)}" for key in keys)
