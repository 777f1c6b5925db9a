from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from support.dicom_files import random_hu, save_slices, slices_of, without_identifiers, write_study
from support.helpers import one_line

from data_prep.dicom import headers as dicom_header
from data_prep.dicom.__main__ import main
from data_prep.dicom.choice import choose_series
from data_prep.dicom.headers import scan_folder
from data_prep.dicom.series import list_series
from data_prep.errors import InputError
from data_prep.formats import image_source as voxel_source
from data_prep.scans import Choice, find_scans, read_scan
from data_prep.volume import read_image, read_volume, write_labels


def columns(*axes: tuple[float, float, float]) -> np.ndarray:
    return np.array(axes, float).T


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
        slices = slices_of(random_hu(count), uid=generate_uid(entropy_srcs=[name]), **options)
        save_slices(folder / name, of_one_study(slices))
    return folder


def of_one_study(slices: list[Dataset]) -> list[Dataset]:
    for data in slices:
        data.StudyInstanceUID = "1.2.826.0.1.3680043.10.99"
    return slices


def test_the_axial_ct_with_most_slices_is_read_and_said(study: Path) -> None:
    volume = read_volume(study)
    assert volume.voxels.shape[0] == 5
    keys = [one.key for one in list_series(study)]
    key, apart = keys[2], " of 7 x 9 pixels, 2.5 mm apart"
    assert volume.notes == (
        f"4 CT series found: read series 3 ({key}): 5 axial CT images{apart}; predict --series N chooses another: "
        f"series 2 ({keys[1]}): 3 axial CT images{apart}; series 5 ({keys[4]}): 12 axial CT images{apart}, reformatted "
        f"or otherwise derived; series 4 ({keys[3]}): 8 coronal CT images{apart}",
        "1 localizer skipped",
        "1 secondary capture skipped",
    )
    # the key says which series it is without saying its UID
    assert len(key) == 8 and int(key, 16) >= 0


def test_axial_comes_first_also_reformatted_and_coronal_is_better_than_none(study: Path) -> None:
    for name in ("b_thick", "c_thin"):
        shutil.rmtree(study / name)
    volume = read_volume(study)
    assert len(volume.voxels) == 12
    assert "read series 3" in volume.notes[0] and "otherwise derived" in volume.notes[0]
    shutil.rmtree(study / "e_slabs")
    save_slices(
        study / "h_sagittal", slices_of(random_hu(3), uid="1.2.3", axes=columns((0, 1, 0), (0, 0, -1), (1, 0, 0)))
    )
    volume = read_volume(study)
    assert volume.source.size == (7, 9, 8)
    assert "read series 2" in volume.notes[0] and "8 coronal" in volume.notes[0]


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
    assert out[0] == f"series 1 ({series[0].key}): 1 axial localizers of 7 x 9 pixels"
    assert out[6] == f"series 4 ({series[3].key}): 8 coronal CT images of 7 x 9 pixels"
    assert out[7].startswith('    folder d_coronal; "abdomen of JANE"; 2.5 mm apart; phase')
    assert out[14] == "Read without --series: 3"


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


def test_each_study_has_its_own_numbers_as_in_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, count in ((1, 6), (2, 8)):
        write_study(tmp_path / f"study{number}", random_hu(count), number)
    numbers = [(one.number, len(one.images)) for one in list_series(tmp_path)]
    assert numbers == [(1, 1), (2, 3), (3, 6), (4, 1), (1, 1), (2, 4), (3, 8), (4, 1)]
    volume = read_volume(tmp_path)
    assert "predict --series KEY chooses another" in volume.notes[0] and "they are of 2 studies" in volume.notes[0]
    with pytest.raises(
        InputError, match="series '3' fits 2 series; expected the key of one, because each study"
    ) as caught:
        read_volume(tmp_path, series=3)
    keys = [one.key for one in list_series(tmp_path) if one.number == 3]
    assert all(f"series 3 ({key})" in str(caught.value) for key in keys)
    for key, count in zip(keys, (6, 8), strict=True):
        assert len(read_volume(tmp_path, series=key).voxels) == count
        found, _ = find_scans([tmp_path], Choice(series=key))
        assert [len(read_scan(scan).voxels) for scan in found] == [count]
    assert main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for key, count, images in zip(keys, (6, 8), (11, 14), strict=True):
        place = lines.index(f"study of {images} images")
        assert lines[place + 5].startswith(f"series 3 ({key}): {count} axial CT images")
        assert lines[place + 9] == "Read without --series: 3"
    one = read_volume(tmp_path / "study2", series=3)
    assert len(one.voxels) == 8
    assert "predict --series N chooses another" in read_volume(tmp_path / "study2").notes[0]


def test_damaged_and_other_files_are_skipped_and_damage_is_noted(tmp_path: Path) -> None:
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
    note = (
        "files that look like DICOM were skipped: 1 named .dcm, but no DICOM by the first bytes (file number 4 in the "
        "order of names); 1 with a header that is cut off or names no modality (file number 5 in the "
        "order of names); 1 deflated, which is not read (dcmconv +te inflates it) (file number 6 in the order of names)"
    )
    volume = read_volume(folder)
    assert volume.notes == (note,)
    assert np.array_equal(volume.voxels, random_hu())
    inner = [path for path in folder.glob("DOE*") if pydicom.dcmread(path).ImagePositionPatient[2] == 38.25]
    inner[0].write_bytes(b"")
    with pytest.raises(InputError, match=r"1 empty \(file number \d+ in .* 1 slices are missing"):
        read_volume(folder)


def test_a_file_that_may_not_be_read_is_damage_and_its_name_is_not_told(tmp_path: Path, monkeypatch) -> None:
    folder = save_slices(tmp_path / "scan", slices_of(random_hu()))

    def refuse(path: Path, *arguments):
        if path.name == "DOE_JANE_003.dcm":
            raise PermissionError(13, "Permission denied", str(path))
        return open(path, *arguments)

    monkeypatch.setattr(voxel_source, "open", refuse, raising=False)
    volume = read_volume(folder)  # it is the first slice or the last, so no gap tells of it
    assert len(volume.voxels) == 5
    assert volume.notes == (
        "files that look like DICOM were skipped: 1 that cannot be opened (file number 4 in the order of names)",
    )


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder = save_slices(tmp_path / "scan", slices_of(random_hu()))
    save_slices(tmp_path / "other", slices_of(random_hu(20)))
    (folder / "other").symlink_to(tmp_path / "other")
    (folder / "loop").symlink_to(folder)
    (folder / "file.dcm").symlink_to(next((tmp_path / "other").iterdir()))
    (folder / "broken.dcm").symlink_to(folder / "absent")
    assert np.array_equal(read_volume(folder).voxels, random_hu())


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
        for folder in (study, broken):
            main([str(folder)])
    texts += [str(warning.message) for warning in warned]
    printed, logged = capfd.readouterr()
    for text in (*texts, caplog.text, printed.replace("abdomen of JANE", ""), logged):  # the list shows descriptions
        without_identifiers(text)
    assert "header that cannot be read, ValueError (file number" in " ".join(
        texts
    )  # the slice whose slope is the number of a patient


def test_the_docs_list_every_tag_that_is_looked_at() -> None:
    text = (Path(__file__).parents[3] / "docs" / "explanation" / "geometry.md").read_text(encoding="utf-8")
    listed = text.split("looks at these header fields alone:")[1].split(". Of these")[0]
    meta = {f"MediaStorageSOP{kind}UID" for kind in ("Class", "Instance")}
    expected = {*dicom_header.TAGS, "TransferSyntaxUID", *meta}
    assert {name.strip(" `\n") for name in listed.split(",")} == expected


def made(
    folder: Path, name: str, count: int, step: float = 5.0, kind: str = "ORIGINAL\\PRIMARY\\AXIAL", **changed
) -> None:
    """Add a series of small axial slices, `step` mm apart; `changed`: further attributes."""

    def change(data: Dataset, k: int) -> None:
        data.ImageType, data.ImagePositionPatient = kind.split("\\"), [0, 0, round(k * step, 3)]
        for keyword, value in changed.items():
            setattr(data, keyword, value(k) if callable(value) else value)

    slices = slices_of(random_hu(count, 2, 2), uid=generate_uid(entropy_srcs=[name]), change=change)
    save_slices(folder / name, of_one_study(slices))


STUDIES = {  # name of the right series -> (name, slices, options) of all
    "b_ct": [("a_iodine", 24, {"kind": "DERIVED\\PRIMARY\\AXIAL"}), ("b_ct", 24, {})],
    "b_axial": [("a_mip", 60, {"kind": "DERIVED\\SECONDARY\\MIP"}), ("b_axial", 24, {})],
    "b_scan": [("a_bolus", 40, {"ImagePositionPatient": [0, 0, 7]}), ("b_scan", 24, {})],
    "b_whole": [
        ("a_perfusion", 96, {"ImagePositionPatient": lambda k: [0, 0, 5.0 * (k % 8)]}),
        ("b_whole", 24, {}),
    ],
    "b_thin": [("a_thick", 24, {}), ("b_thin", 80, {"step": 1.5}), ("c_few", 30, {"step": 1.0})],
    "b_abdomen": [("a_chest", 80, {"step": 1.0, "BodyPartExamined": "CHEST"}), ("b_abdomen", 24, {"step": 5.0})],
    "b_hu": [("a_effective_z", 40, {"RescaleType": "Z_EFF"}), ("b_hu", 24, {})],
    "a_derived": [("a_derived", 24, {"kind": "DERIVED\\PRIMARY\\AXIAL"}), ("b_tilted", 24, {
        "ImagePositionPatient": lambda k: [0, k * 1.0, k * 5.0]})],
}  # fmt: skip


@pytest.mark.parametrize("right", STUDIES)
def test_the_series_that_shows_the_kidneys_is_chosen_and_the_others_are_named(tmp_path: Path, right: str) -> None:
    for name, count, options in STUDIES[right]:
        made(tmp_path, name, count, **options)
    chosen, (note,) = choose_series(scan_folder(tmp_path), None)
    names = [name for name, _, _ in STUDIES[right]]
    assert names[chosen.number - 1] == right
    assert (
        "\n" not in note and f"read series {chosen.number} " in note and "predict --series N chooses another: " in note
    )
    assert all(f"series {number} (" in note for number in range(1, len(names) + 1))
    for part in ("not read: 39 slices are in the place", "not read: values are not HU"):
        assert (part in note) == ({"b_scan": "39", "b_hu": "HU"}.get(right, "-") in part)


def test_a_series_that_cannot_be_read_names_those_that_can(tmp_path: Path) -> None:
    made(tmp_path, "a_bolus", 40, ImagePositionPatient=[0, 0, 7])
    made(tmp_path, "b_scan", 24)
    with pytest.raises(
        InputError, match=r"39 slices are in the place .* the other CT series: series 2 .* --series$"
    ) as caught:
        read_volume(tmp_path, series=1)
    one_line(caught)
    shutil.rmtree(tmp_path / "b_scan")
    made(tmp_path, "c_tilted", 24, ImagePositionPatient=lambda k: [0, k * 1.0, k * 5.0])
    with pytest.raises(
        InputError, match=r"not read: 39 slices are in the place of another|gantry was tilted"
    ) as caught:
        read_volume(tmp_path)
    one_line(caught)


def test_a_series_for_every_slice_is_said(tmp_path: Path) -> None:
    made(tmp_path, "a", 12, SeriesInstanceUID=lambda k: f"1.2.{k + 1}")
    with pytest.raises(InputError, match="12 CT series of one slice each, which fit together: every slice has its own"):
        read_volume(tmp_path)


def test_files_without_preamble_and_links_alone(tmp_path: Path) -> None:
    folder = save_slices(tmp_path / "whole", slices_of(random_hu()))
    for name in ("bare", "links"):
        (tmp_path / name).mkdir()
    for path in folder.iterdir():
        (tmp_path / "bare" / path.name).write_bytes(path.read_bytes()[132:])
        (tmp_path / "links" / path.name).symlink_to(path)
    assert np.array_equal(read_volume(tmp_path / "bare").voxels, random_hu())
    with pytest.raises(InputError, match="0 other files; 6 links, which are not followed; give their targets"):
        read_volume(tmp_path / "links")
