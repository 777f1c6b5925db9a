"""The image files in the wheels of nibabel and pydicom: values equal to theirs, or refused in one line.

The wheels of highdicom and SimpleITK hold none.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from support.helpers import one_line

from data_prep.errors import InputError
from data_prep.files.quiet import silent
from data_prep.volume import read_image, read_labels, read_volume

FILES = sorted(
    path
    for folder in (Path(nib.__file__).parent / "tests" / "data", Path(nib.__file__).parent / "nicom" / "tests" / "data")
    if folder.is_dir()
    for path in folder.iterdir()
    if path.name.endswith((".nii", ".nii.gz"))
)


@pytest.mark.skipif(not FILES, reason="this wheel of nibabel holds no test files")
def test_files_of_the_nibabel_wheel() -> None:
    read = []
    for path in FILES:
        try:
            stored = read_image(path)
        except InputError as error:
            assert "\n" not in str(error)
            continue
        image = nib.load(path)
        values = np.asarray(image.dataobj)
        values = values.reshape(values.shape[:3]).T
        assert np.allclose(stored.values, values, rtol=1e-6), path.name
        lps = image.affine * np.array([[-1.0], [-1.0], [1.0], [1.0]])
        steps = np.reshape(stored.grid.direction, (3, 3)) * stored.grid.spacing
        assert np.allclose(steps, lps[:3, :3], atol=1e-4) and np.allclose(stored.grid.origin, lps[:3, 3], atol=1e-3)
        read.append(path.name)
    assert {"anatomical.nii", "standard.nii.gz"} <= set(read)


def test_a_surface_file_is_refused_in_one_line() -> None:
    path = next((path for path in FILES if "dconn" in path.name), None)
    if path is None:
        pytest.skip("this wheel of nibabel holds no CIFTI file")
    with pytest.raises(InputError) as caught:
        read_image(path)
    one_line(caught)


DICOM_FILES = sorted(path for path in Path(pydicom.data.__file__).parent.rglob("*") if path.suffix in (".dcm", ".jp2"))


@pytest.mark.skipif(not DICOM_FILES, reason="this wheel of pydicom holds no test files")
def test_files_of_the_pydicom_wheel(tmp_path: Path) -> None:
    read, reasons = [], set()
    for number, path in enumerate(DICOM_FILES):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.dcm").write_bytes(path.read_bytes())
        with silent(), contextlib.suppress(Exception):  # a slice beside it, where that is possible: two make a volume
            other = pydicom.dcmread(path)
            other.ImagePositionPatient[2] += 5
            other.save_as(folder / "b.dcm")
        try:
            volume = read_volume(folder)
        except InputError as error:
            assert str(error).isprintable() and str(folder) in str(error), error
            reasons.add(error.code)
        else:
            with silent():
                data = pydicom.dcmread(path, force=True)
                values = data.pixel_array * float(data.get("RescaleSlope", 1)) + float(data.get("RescaleIntercept", 0))
            assert np.array_equal(volume.source.to_stored(volume.voxels)[0], values), path.name
            assert np.allclose(volume.spacing_mm[1:], data.PixelSpacing)
            read.append(path.name)
        for labels in (folder, folder / "a.dcm"):  # no file of it is a map of kidneys
            with pytest.raises(InputError) as caught:
                read_labels(labels)
            one_line(caught)
    assert "CT_small.dcm" in read and len(reasons) > 1, (read, reasons)
