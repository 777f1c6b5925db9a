"""Pixels of every transfer syntax against pydicom's, and pixels that are not what the header says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2K, CTImageStorage, ExplicitVRBigEndian, RLELossless, generate_uid
from support.dicom_files import Change, random_hu, save_slices, slices_of, without_identifiers
from support.helpers import one_line

from data_prep.dicom.headers import scan_folder
from data_prep.dicom.pixels import PixelError, problem_of_values, read_hu
from data_prep.errors import InputError
from data_prep.volume import read_volume

TEST_FILES = Path(pydicom.data.__file__).parent / "test_files"


@pytest.mark.parametrize("kind", ["MONOCHROME1", "RLE MONOCHROME1", "12 bits", "signed 12 bits", "padded"])
def test_values_are_the_stored_ones_with_slope_and_intercept(tmp_path: Path, kind: str) -> None:
    hu = random_hu(4, 16, 12)

    def change(data: Dataset, k: int) -> None:
        stored = np.frombuffer(data.PixelData, "<u2")
        if "MONOCHROME1" in kind:
            data.PhotometricInterpretation = "MONOCHROME1"
        if "RLE" in kind:
            data.compress(RLELossless)
        if kind == "12 bits":  # an overlay in the upper bits
            data.BitsStored, data.HighBit = 12, 11
            data.PixelData = (stored | 0xA000).astype("<u2").tobytes()
        if kind == "signed 12 bits":
            data.BitsStored, data.HighBit, data.PixelRepresentation, data.RescaleIntercept = 12, 11, 1, 0
            data.PixelData = (np.clip(hu[k], -2048, 2047).astype("<i2").view("<u2") & 0x0FFF).tobytes()
        if kind == "padded":
            data.PixelData += b"\0\0"

    assert np.array_equal(read_volume(save_slices(tmp_path / "a", slices_of(hu, change=change))).voxels, hu)


@pytest.mark.parametrize("syntax", ["little", "big", "RLE"])
@pytest.mark.parametrize("lost", [1, 2, 100])
def test_pixels_shorter_than_the_image_are_refused(tmp_path: Path, syntax: str, lost: int) -> None:
    def change(data: Dataset, k: int) -> None:
        if syntax == "RLE":
            data.compress(RLELossless)
        if k == 2 and syntax != "RLE":
            data.PixelData = data.PixelData[: -lost - lost % 2]

    slices = slices_of(random_hu(5, 40, 30), change=change)
    folder = tmp_path / "scan"
    folder.mkdir()
    for number, data in enumerate(slices):
        if syntax == "big":
            data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        data.save_as(folder / f"{number}.dcm")
    if syntax == "RLE":
        whole = (folder / "2.dcm").read_bytes()
        (folder / "2.dcm").write_bytes(whole[: -8 - lost - 1])
    with pytest.raises(InputError, match="pixels of file number 3 in the order of names cannot be read: ") as caught:
        read_volume(folder)
    assert caught.value.code == "truncated"
    without_identifiers(one_line(caught))


def test_pixels_longer_than_the_image_are_refused(tmp_path: Path) -> None:
    folder = save_slices(tmp_path, slices_of(random_hu(4), change=lambda data, k: setattr(data, "Rows", 8)))
    with pytest.raises(InputError, match="126 bytes where the header promises 112"):
        read_volume(folder)


def of_another_kind(kind: str) -> Change:
    """Return what makes a CT slice one whose pixels are no whole numbers of a known encoding."""

    def change(data: Dataset, k: int) -> None:
        count = data.Rows * data.Columns
        if "Pixel" in kind:
            del data.PixelData
        if kind == "FloatPixelData":
            data.FloatPixelData, data.BitsAllocated = bytes(4 * count), 32
        elif kind == "DoubleFloatPixelData":
            data.DoubleFloatPixelData, data.BitsAllocated = bytes(8 * count), 64
        elif kind == "PixelDataProviderURL":
            data.PixelDataProviderURL = "https://pacs.example/1?patient=DOE"
        elif kind == "HTJ2K":
            data.file_meta.TransferSyntaxUID = HTJ2K
            data.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(60) + b"\xff\xd9"])
            data["PixelData"].is_undefined_length = True
        elif kind == "12 bits allocated":
            data.BitsAllocated = 12
        elif kind == "no sign":
            del data.PixelRepresentation

    return change


@pytest.mark.parametrize(
    ("kind", "words", "code"),
    [
        (
            "FloatPixelData",
            r"they are fractions \(FloatPixelData\), which are not read; export the CT with",
            "unreadable",
        ),
        (
            "DoubleFloatPixelData",
            "has pixels of 64 bits; expected 8, 16 or 32; export the CT with whole numbers",
            "input",
        ),
        ("PixelDataProviderURL", r"they are on a server \(PixelDataProviderURL\); export the files", "unreadable"),
        ("no PixelData", "it has none; copy or download it again", "truncated"),
        ("HTJ2K", r"stored as High-Throughput JPEG 2000 .*, which is not read; convert the series", "unreadable"),
        ("private", "stored in a way that is not known, which is not read; convert the series", "unreadable"),
        ("12 bits allocated", "has pixels of 12 bits; expected 8, 16 or 32; export", "input"),
        ("no sign", "the header lacks PixelRepresentation; export the series again", "unreadable"),
    ],
)
def test_pixels_that_are_not_read_are_not_called_damaged(tmp_path: Path, kind: str, words: str, code: str) -> None:
    folder = save_slices(tmp_path / "a", slices_of(random_hu(4), change=of_another_kind(kind)))
    for path in folder.iterdir() if kind == "private" else ():  # of GE, as long as the other one
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0"))
    with pytest.raises(InputError, match=words) as caught:
        read_volume(folder)
    assert caught.value.code == code
    assert ("damaged" in str(caught.value) or "again" in str(caught.value)) == (kind in ("no PixelData", "no sign"))
    without_identifiers(one_line(caught))


def jpeg_slices(folder: Path, name: str, **changed: object) -> Path:
    folder.mkdir()
    for k in range(3):
        data = pydicom.dcmread(TEST_FILES / name)
        data.Modality, data.SOPClassUID, data.SOPInstanceUID = "CT", CTImageStorage, generate_uid()
        data.file_meta.MediaStorageSOPClassUID = CTImageStorage
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 5 * k], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing = [0.8, 0.8]
        for keyword, value in changed.items():
            setattr(data, keyword, value)
        data.save_as(folder / f"{k}.dcm")
    return folder


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "JPEGLSNearLossless_16.dcm", "MR_small_RLE.dcm"])
def test_compressed_pixels_are_read_or_refused_when_cut(tmp_path: Path, name: str) -> None:
    folder = jpeg_slices(tmp_path / "a", name)
    data = pydicom.dcmread(folder / "1.dcm")
    volume = read_volume(folder)
    assert volume.voxels.shape == (3, data.Rows, data.Columns)
    if name == "MR_small_RLE.dcm":  # the others need a decoder that is not installed
        expected = data.pixel_array * float(data.get("RescaleSlope", 1)) + float(data.get("RescaleIntercept", 0))
        assert np.array_equal(volume.voxels[1], np.rint(expected))
    for path in folder.iterdir():
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) - len(whole) // 8])
        with pytest.raises(InputError, match="cannot be read"):
            read_volume(folder)
        path.write_bytes(whole)
    if "JPEG" in name:
        with pytest.raises(InputError, match=f"has {data.Columns} x {data.Rows} pixels, the header another number"):
            read_volume(jpeg_slices(tmp_path / "b", name, Rows=int(data.Rows) - 1))
        with pytest.raises(InputError, match="compressed MONOCHROME1"):
            read_volume(jpeg_slices(tmp_path / "c", name, PhotometricInterpretation="MONOCHROME1"))


def test_jpeg_of_12_bits_with_a_padded_end_and_nothing_of_its_decoder_on_the_terminal(tmp_path: Path, capfd) -> None:
    folder = jpeg_slices(tmp_path / "a", "JPGExtended.dcm")
    made = read_volume(folder).voxels
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(TEST_FILES / "JPGExtended.dcm")))
    np.testing.assert_array_equal(made[1], expected[0])


def test_every_file_of_the_pydicom_wheel_is_read_as_pydicom_reads_it_or_refused_in_one_line() -> None:
    scan = scan_folder(TEST_FILES)
    assert len(scan.images) > 80 and "Traceback" not in scan.reasons and scan.reasons.count("\n") == 0
    compared = 0
    for image in scan.images:
        try:
            found = read_hu(image)
        except PixelError as error:
            assert "\n" not in str(error)
            continue
        if problem_of_values([image]):
            continue
        data = pydicom.dcmread(image.path, force=True)
        try:
            stored = data.pixel_array
        except (RuntimeError, NotImplementedError, AttributeError):  # no decoder
            continue
        slope = 1.0 if image.slope is None else image.slope
        assert np.array_equal(found, np.clip(np.rint(stored * slope + (image.intercept or 0)), -32768, 32767)), (
            image.path
        )
        compared += 1
    assert compared >= 20
