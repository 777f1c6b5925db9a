from __future__ import annotations

import logging
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import IDENTIFIERS, SPACING_MM, random_hu, save_slices, slices_of
from helpers import one_line
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from data_prep.command import InputError
from data_prep.dicom import main
from data_prep.dicom_series import list_series
from data_prep.volume import read_image, read_labels, read_volume, write_labels

OBLIQUE = np.linalg.qr(np.array([[0.95, 0.2, -0.1], [-0.2, 0.97, 0.15], [0.12, -0.1, 0.98]]))[0]
OBLIQUE = OBLIQUE * np.sign(np.diag(OBLIQUE))


def columns(*axes: tuple[float, float, float]) -> np.ndarray:
    return np.array(axes, float).T


# --- what is read


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
        "6 slices name no RescaleSlope or RescaleIntercept: taken for 1 and 0",
        "6 slices leave the unit of their values open: taken for HU",
    )


# --- which series


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A scout, a thick axial, a thin axial, a long coronal, a longer reformatted series, a capture, and an MR."""
    folder = tmp_path / "study"

    def set_type(*values: str):
        return lambda data, k: setattr(data, "ImageType", list(values))

    def capture(data: Dataset, k: int) -> None:
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage

    def mr(data: Dataset, k: int) -> None:
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MRImageStorage
        data.Modality = "MR"

    coronal = columns((1, 0, 0), (0, 0, -1), (0, 1, 0))
    for name, count, options in (
        ("a_scout", 1, {"change": set_type("ORIGINAL", "PRIMARY", "LOCALIZER")}),
        ("b_thick", 3, {}),
        ("c_thin", 5, {}),
        ("d_coronal", 8, {"axes": coronal}),
        ("e_slabs", 12, {"change": set_type("DERIVED", "SECONDARY", "REFORMATTED")}),
        ("f_capture", 1, {"change": capture}),
        ("g_mr", 20, {"change": mr}),
    ):
        save_slices(folder / name, slices_of(random_hu(count), uid=generate_uid(entropy_srcs=[name]), **options))
    return folder


def test_the_axial_ct_with_most_slices_is_read_and_said(study: Path) -> None:
    volume = read_volume(study)
    assert volume.voxels.shape[0] == 5
    key = list_series(study)[2].key
    assert volume.notes == (
        f"4 CT series found: read the axial CT with most slices, series 3 ({key}): 5 axial CT images of 7 x 9 pixels; "
        "--series chooses another",
        "1 localizer passed over",
        "1 secondary capture passed over",
    )
    # the key says which series it is without saying its UID
    assert len(key) == 8 and int(key, 16) >= 0


def test_series_are_listed_and_chosen_by_number_or_key(study: Path, capsys) -> None:
    series = list_series(study)
    assert [(one.number, one.modality, one.plane, len(one.images)) for one in series] == [
        (1, "CT", "axial", 1),
        (2, "CT", "axial", 3),
        (3, "CT", "axial", 5),
        (4, "CT", "coronal", 8),
        (5, "CT", "axial", 12),
        (6, "CT", "axial", 1),
        (7, "MR", "axial", 20),
    ]
    for number, count in ((2, 3), (5, 12)):
        for wanted in (number, str(number), series[number - 1].key, series[number - 1].key[:5].upper()):
            assert read_image(study, series=wanted).values.shape[0] == count
    assert read_image(study, series="4").values.shape[0] == 8
    for wanted, words in {
        "9": "fits 0 series",
        "": "fits 0",
        "ffff0000": "fits 0",
        "7": "expected a series of CT",
    }.items():
        with pytest.raises(InputError, match=words) as caught:
            read_volume(study, series=wanted)
        one_line(caught)
    assert main([str(study)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[3] == f"series 4 ({series[3].key}): 8 coronal CT images of 7 x 9 pixels"
    assert out[7] == "Read unless --series says otherwise: 3"


def test_a_series_can_only_be_chosen_in_a_folder(tmp_path: Path) -> None:
    write_labels(
        np.zeros((6, 9, 7), np.uint8),
        read_image(save_slices(tmp_path, slices_of(random_hu()))).grid,
        tmp_path / "a.mha",
    )
    with pytest.raises(InputError, match="series can only be chosen"):
        read_volume(tmp_path / "a.mha", series=1)
    with pytest.raises(InputError, match="one DICOM file"):
        read_volume(next(tmp_path.glob("*.dcm")))


# --- what is refused


def tilt(data: Dataset, k: int) -> None:
    data.ImagePositionPatient[1] += k * 2.5 * np.tan(np.radians(12))


def shift(data: Dataset, k: int) -> None:
    data.ImagePositionPatient[0] += 3.0 * (k == 2)


def move(data: Dataset, k: int) -> None:
    data.ImagePositionPatient[2] += 1.0 * (k == 2)


def stretch(data: Dataset, k: int) -> None:
    data.ImagePositionPatient[2] += 2.5 * max(k - 2, 0) * 0.4


def double(data: Dataset, k: int) -> None:
    data.ImagePositionPatient[2] -= 2.5 * (k == 4)


def double_all(data: Dataset, k: int) -> None:
    data.ImagePositionPatient[2] = 5.0 * (k // 2)


def turn(data: Dataset, k: int) -> None:
    if k > 3:
        data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def stretch_pixels(data: Dataset, k: int) -> None:
    data.PixelSpacing = [0.8, 0.7 + 0.01 * (k == 0)]


def grow(data: Dataset, k: int) -> None:
    if k == 1:
        data.Rows, data.PixelData = 10, bytes(2 * 10 * 7)


def lose(name: str):
    return lambda data, k: delattr(data, name) if k == 3 else None


def put(**values):
    def change(data: Dataset, k: int) -> None:
        for name, value in values.items():
            setattr(data, name, value)

    return change


def color(data: Dataset, k: int) -> None:
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = bytes(9 * 7 * 3 + 1)


def enhanced(data: Dataset, k: int) -> None:
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    data.NumberOfFrames = 1


REFUSED = {
    "tilted": (tilt, r"gantry was tilted by 12\.0 degrees"),
    "shifted": (shift, r"shifted sideways by up to 3 mm"),
    "moved": (move, r"slices are 1\.5 to 3\.5 mm apart; expected even spacing"),
    "stretched": (stretch, r"slices are 2\.5 to 3\.5 mm apart; expected even spacing"),
    "doubled": (double, r"1 slices lie where another does \(the first at 40\.75 mm\)"),
    "two phases": (double_all, "3 slices lie where another does"),
    "all in one place": (put(ImagePositionPatient=[0, 0, 0]), "5 slices lie where another does"),
    "turned": (turn, r"mixes orientations: 1 x 0 x 0 x 0 x 1 x 0 \(4 slices\)"),
    "pixels": (stretch_pixels, r"mixes pixel spacings: 0\.8 x 0\.7 \(5 slices\), 0\.8 x 0\.71 \(1 slices\)"),
    "sizes": (grow, r"mixes sizes: 7 x 9 \(5 slices\), 7 x 10 \(1 slices\)"),
    "no position": (lose("ImagePositionPatient"), "1 of 6 slices lack position"),
    "no orientation": (lose("ImageOrientationPatient"), "1 of 6 slices lack position, orientation"),
    "no pixel spacing": (lose("PixelSpacing"), "1 of 6 slices lack"),
    "sheared pixels": (put(ImageOrientationPatient=[1, 0, 0, 0.1, 0.99, 0]), "6 of 6 slices lack"),
    "no length": (put(ImageOrientationPatient=[0] * 6), "6 of 6 slices lack"),
    "spacing 0": (put(PixelSpacing=[0, 0.7]), "6 of 6 slices lack"),
    "color": (color, "6 slices are in color"),
    "enhanced": (enhanced, r"multi-frame \(enhanced\)"),
    "frames": (put(NumberOfFrames=2), r"multi-frame \(enhanced\)"),
    "scouts": (put(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), r"no CT series.*found localizers \(1 series\)"),
    "MR": (put(Modality="MR"), r"no CT series.*found MR \(1 series\)"),
    "unknown": (put(Modality="JANE"), r"no CT series.*found another modality \(1 series\)"),
    "slope 0": (put(RescaleSlope=0), "RescaleSlope or RescaleIntercept"),
    "no HU": (put(RescaleType="Z_EFF"), "values are no HU"),
    "terabytes": (put(Rows=65535, Columns=65535), "claims 65535 x 65535 pixels of 16 bits"),
    "no rows": (put(Rows=0), "expected 1 or more along each axis"),
}


def without_identifiers(text: str) -> str:
    assert not [word for word in IDENTIFIERS if word in text], text
    return text


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_grid_of_ct_is_refused_by_name(tmp_path: Path, name: str) -> None:
    change, words = REFUSED[name]
    folder = save_slices(tmp_path / "scan", slices_of(random_hu(), change=change))
    for read in (read_volume, read_labels):
        with pytest.raises(InputError, match=words) as caught:
            read(folder)
        assert str(folder) in without_identifiers(one_line(caught))


def test_missing_slices_are_counted_and_placed(tmp_path: Path) -> None:
    slices = slices_of(random_hu(10))
    folder = save_slices(tmp_path / "scan", [data for k, data in enumerate(slices) if k not in (3, 6, 7)])
    with pytest.raises(
        InputError, match=r"3 slices are missing \(1 after 38\.25 mm, 2 after 45\.75 mm; the others are 2\.5"
    ):
        read_volume(folder)


def test_a_single_slice_and_folders_without_dicom_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one slice, and one has no spacing"):
        read_volume(save_slices(tmp_path / "one", slices_of(random_hu(1))))
    (tmp_path / "text").mkdir()
    with pytest.raises(InputError, match=r"no DICOM image in this folder \(0 other files\)"):
        read_volume(tmp_path / "text")
    (tmp_path / "text" / "notes.txt").write_text("JANE")
    (tmp_path / "text" / "scan").symlink_to(tmp_path / "one")
    with pytest.raises(InputError, match=r"no DICOM image in this folder \(1 other files and 1 links, which are not"):
        read_volume(tmp_path / "text")
    assert main([str(tmp_path / "absent")]) == 2


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


def test_damaged_and_other_files_are_passed_over_and_damage_is_said(tmp_path: Path) -> None:
    def deflate(data: Dataset, k: int) -> None:
        data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    folder = save_slices(tmp_path / "scan", slices_of(random_hu()))
    (folder / "AAA.txt").write_text("a note")
    (folder / "AAB").write_bytes(bytes(500))
    (folder / "AAC").write_bytes(b"")
    assert read_volume(folder).notes == ()
    (folder / "AAD.dcm").write_bytes(b"not found")
    (folder / "AAE").write_bytes(bytes(128) + b"DICM" + b"\xff" * 100)
    save_slices(folder, slices_of(random_hu(1), change=deflate), prefix="AAF")
    note = "3 files look like damaged DICOM and were passed over: file number 4, 5, 6 in the order of names"
    volume = read_volume(folder)
    assert volume.notes == (note,)
    assert np.array_equal(volume.voxels, random_hu())
    inner = [path for path in folder.glob("DOE*") if pydicom.dcmread(path).ImagePositionPatient[2] == 38.25]
    inner[0].write_bytes(b"")
    with pytest.raises(InputError, match=r"damaged DICOM \(file number 4, 5, 6, \d+ in .* 1 slices are missing"):
        read_volume(folder)


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder = save_slices(tmp_path / "scan", slices_of(random_hu()))
    save_slices(tmp_path / "other", slices_of(random_hu(20)))
    (folder / "other").symlink_to(tmp_path / "other")
    (folder / "loop").symlink_to(folder)
    (folder / "file.dcm").symlink_to(next((tmp_path / "other").iterdir()))
    (folder / "broken.dcm").symlink_to(folder / "absent")
    assert np.array_equal(read_volume(folder).voxels, random_hu())


# --- privacy


def test_nothing_that_identifies_a_patient_leaves_the_headers(tmp_path: Path, study: Path, caplog, capfd) -> None:
    def malformed(data: Dataset, k: int) -> None:
        # values that pydicom warns of, and quotes
        data.add_new("RescaleType", "LO", "US")
        data._dict[pydicom.tag.Tag("SeriesInstanceUID")] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag("SeriesInstanceUID"), "UI", 8, b"DOE^JANE", 0, False, True
        )
        data._dict[pydicom.tag.Tag("RescaleSlope")] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag("RescaleSlope"), "DS", 8, b"MRN-7734" if k == 2 else b"1       ", 0, False, True
        )

    slices = slices_of(random_hu())
    for k, data in enumerate(slices):
        malformed(data, k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        broken = save_slices(tmp_path / "malformed", slices)
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        texts = [repr(read_volume(study)), repr(read_image(study)), repr(list_series(study)), repr(list_series(broken))]
        texts += [repr(one.images) for one in list_series(study)]
        for folder, series in ((broken, None), (study, "9"), (study, "6")):
            with pytest.raises(InputError) as caught:
                read_volume(folder, series=series)
            texts += [one_line(caught), repr(caught.value.__cause__), repr(caught.value.__context__)]
        main([str(study)])
        main([str(broken)])
    texts += [str(warning.message) for warning in warned]
    for text in (*texts, caplog.text, *capfd.readouterr()):
        without_identifiers(text)
    assert "damaged DICOM (file number" in " ".join(texts)  # the slice whose slope is the number of a patient
