from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import (
    ImplicitVRLittleEndian,
    RLELossless,
)
from support.dicom_files import SPACING_MM, random_hu, save_slices, slices_of, without_identifiers
from support.helpers import one_line

from data_prep.errors import InputError
from data_prep.volume import read_image, read_volume, write_labels

OBLIQUE = np.linalg.qr(np.array([[0.95, 0.2, -0.1], [-0.2, 0.97, 0.15], [0.12, -0.1, 0.98]]))[0]
OBLIQUE = OBLIQUE * np.sign(np.diag(OBLIQUE))


def columns(*axes: tuple[float, float, float]) -> np.ndarray:
    return np.array(axes, float).T


def test_a_real_series_reads_as_simpleitk_and_pydicom_see_it(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "dicom_series"
    volume = read_volume(folder)
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    assert np.array_equal(volume.voxels, sitk.GetArrayFromImage(image))
    assert volume.voxels.dtype == np.int16
    for name, get in {"spacing": "GetSpacing", "origin": "GetOrigin", "direction": "GetDirection"}.items():
        assert getattr(volume.source, name) == pytest.approx(getattr(image, get)(), abs=1e-5)
    headers = sorted((pydicom.dcmread(path) for path in folder.iterdir()), key=lambda d: d.ImagePositionPatient[2])
    for k in (0, 7, 19):
        one = sitk.GetArrayFromImage(sitk.ReadImage(headers[k].filename))[0]
        assert np.array_equal(volume.voxels[k], one)
    affine = np.diag([-0.9765625, -0.9765625, 2.0, 1.0])  # RAS
    affine[:3, 3] = np.array(headers[0].ImagePositionPatient, float) * (-1, -1, 1)
    labels = (volume.voxels > 200).astype(np.uint8)
    write_labels(labels, volume.source, tmp_path / "labels.nii.gz")
    written = nib.load(tmp_path / "labels.nii.gz")
    assert np.allclose(written.affine, affine, atol=1e-5)
    assert np.array_equal(np.asarray(written.dataobj).transpose(2, 1, 0), labels)


@pytest.mark.parametrize(
    "axes",
    [
        np.eye(3),
        columns((1, 0, 0), (0, 1, 0), (0, 0, -1)),  # slices counted from the head
        columns((-1, 0, 0), (0, -1, 0), (0, 0, 1)),  # prone
        columns((-1, 0, 0), (0, 1, 0), (0, 0, 1)),  # feet first
        columns((1, 0, 0), (0, 0, -1), (0, 1, 0)),  # coronal
        columns((0, 1, 0), (0, 0, -1), (1, 0, 0)),  # sagittal
        OBLIQUE,
    ],
)
def test_every_voxel_lies_where_its_header_says(tmp_path: Path, axes: np.ndarray) -> None:
    hu = random_hu()
    slices = slices_of(hu, axes=axes)
    folder = save_slices(tmp_path / "scan", slices)
    stored = read_image(folder)
    assert stored.values.shape == hu.shape
    step = np.reshape(stored.grid.direction, (3, 3)) * stored.grid.spacing
    for k, j, i in ((0, 0, 0), (5, 8, 6), (2, 7, 1)):
        data = slices[k]
        between_rows, between_columns = map(float, data.PixelSpacing)
        row, column = np.reshape(np.array(data.ImageOrientationPatient, float), (2, 3))
        mm = np.array(data.ImagePositionPatient, float) + i * between_columns * row + j * between_rows * column
        found = np.rint(np.linalg.solve(step, mm - stored.grid.origin)).astype(int)
        assert stored.grid.origin + step @ found == pytest.approx(mm, abs=1e-4)
        assert stored.values[tuple(found[::-1])] == hu[k, j, i]
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    assert np.array_equal(read_volume(folder).voxels, sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS")))
    assert stored.grid.spacing == pytest.approx(SPACING_MM[::-1], abs=1e-5)


@pytest.mark.parametrize("kind", ["implicit", "RLE", "no preamble", "signed", "nested"])
def test_other_ways_to_store_the_same_slices(tmp_path: Path, kind: str) -> None:
    hu = random_hu(6, 16, 12)  # GDCM, as of ITK 5.4, refuses some RLE slices with odd lines

    def change(data: Dataset, k: int) -> None:
        if kind == "implicit":
            data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        if kind == "RLE":
            data.compress(RLELossless)
        if kind == "signed":
            data.PixelRepresentation, data.RescaleIntercept = 1, 0
            data.PixelData = hu[k].astype("<i2").tobytes()

    folder = save_slices(tmp_path / "scan", slices_of(hu, change=change))
    for number, path in enumerate(sorted(folder.iterdir())):
        if kind == "no preamble":
            data = pydicom.dcmread(path)
            del data.file_meta, data.preamble
            pydicom.dcmwrite(path.with_suffix(""), data, implicit_vr=True, little_endian=True)
            path.unlink()
            assert path.with_suffix("").read_bytes()[:2] == b"\x08\x00"
        if kind == "nested":
            (folder / str(number % 3)).mkdir(exist_ok=True)
            path.rename(folder / str(number % 3) / "slice")
            (folder / str(number % 3) / "slice").rename(folder / str(number % 3) / f"slice{number}")
    volume = read_volume(folder)
    assert np.array_equal(volume.voxels, hu)
    assert volume.notes == ()


def test_slope_and_intercept_count_slice_by_slice(tmp_path: Path) -> None:
    hu = random_hu()

    def change(data: Dataset, k: int) -> None:
        data.RescaleSlope, data.RescaleIntercept = 0.5 + k, -1000.25

    stored = hu.astype(np.int32) + 1024
    expected = [np.rint(plane * (0.5 + k) - 1000.25) for k, plane in enumerate(stored)]
    assert np.array_equal(
        read_volume(save_slices(tmp_path / "scan", slices_of(hu, change=change))).voxels,
        np.clip(expected, -32768, 32767),
    )


def test_a_missing_slope_is_one_and_said(tmp_path: Path) -> None:
    def change(data: Dataset, k: int) -> None:
        del data.RescaleSlope, data.RescaleIntercept
        data.RescaleType = "US"

    volume = read_volume(save_slices(tmp_path / "scan", slices_of(random_hu(), change=change)))
    assert np.array_equal(volume.voxels, random_hu() + 1024)
    assert volume.notes == (
        "6 slices have no RescaleSlope or RescaleIntercept: 1 and 0 assumed",
        "6 slices do not specify the unit of their values: HU assumed",
    )


@pytest.mark.parametrize("syntax", ["raw", "RLE"])
def test_truncated_slices_are_refused(tmp_path: Path, syntax: str, capfd) -> None:
    def change(data: Dataset, k: int) -> None:
        if syntax == "RLE":
            data.compress(RLELossless)

    folder = save_slices(tmp_path / "scan", slices_of(random_hu(5, 40, 30), change=change))
    assert np.array_equal(read_volume(folder).voxels, random_hu(5, 40, 30))
    path = sorted(folder.iterdir())[1]
    whole = path.read_bytes()
    for part in (0.6, 0.9, 0.99):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(InputError, match="pixels of file number 2 in the order of names cannot be read") as caught:
            read_volume(folder)
        without_identifiers(one_line(caught))
    assert capfd.readouterr() == ("", "")
