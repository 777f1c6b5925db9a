"""DICOM Segmentations: read again by highdicom and pydicom, referring to their slices, equal to the NIfTI labels."""

from __future__ import annotations

import copy
import random
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import HTJ2K, DeflatedExplicitVRLittleEndian, generate_uid
from support.dicom_files import SPACING_MM, random_hu, save_slices, slices_of, without_identifiers
from support.helpers import one_line

from data_prep.dicom.headers import holds_dicom
from data_prep.dicom.reader import open_series
from data_prep.dicom.seg_reader import read_dicom_seg
from data_prep.dicom.seg_writer import check_series, write_dicom_seg
from data_prep.errors import InputError
from data_prep.geometry.source_grid import same_grid
from data_prep.volume import read_labels, read_volume, write_labels

FRAME_OF_REFERENCE = generate_uid(entropy_srcs=["frame"])
BY = {"algorithm_name": "kidney_seg", "algorithm_version": "0.1.0"}
TURN = np.deg2rad(20)
AXES = {  # columns: directions (LPS) of a slice's rows, of its columns, and from slice to slice
    "head first, supine": np.eye(3),
    "head first, prone": np.diag([-1.0, -1.0, 1.0]),
    "feet first, as scanned": np.diag([-1.0, 1.0, -1.0]),
    "sagittal": np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]),
    "oblique": np.array([[1.0, 0, 0], [0, np.cos(TURN), -np.sin(TURN)], [0, np.sin(TURN), np.cos(TURN)]]),
}


def whole(data, k):
    data.FrameOfReferenceUID = FRAME_OF_REFERENCE
    data.SeriesNumber = 4


def series(folder, axes=None, change=whole, shape=(8, 9, 7)):
    save_slices(folder, slices_of(random_hu(*shape), axes=axes, change=change))
    return read_volume(folder)


def some_labels(shape, most=3, seed=0):
    """Labels on some slices only, the outermost ones among the empty."""
    labels = np.zeros(shape, np.uint8)
    inner = tuple(slice(2, n - 2) for n in shape)
    labels[inner] = np.random.default_rng(seed).integers(0, most, labels[inner].shape)
    return labels


def points(values, affine):
    """Return {position in mm: label} of an array's labelled voxels, by its own affine."""
    index = np.argwhere(values)
    places = (np.column_stack([index, np.ones(len(index))]) @ affine.T)[:, :3]
    return dict(zip(map(tuple, np.round(places, 2) + 0.0), values[values > 0].tolist(), strict=True))


@pytest.mark.parametrize("name", AXES)
def test_highdicom_reads_what_nibabel_reads_from_the_nifti_labels(tmp_path, name):
    volume = series(tmp_path / "ct", AXES[name])
    labels = some_labels(volume.voxels.shape, most=4)
    write_dicom_seg(labels, volume, tmp_path / "out" / "seg.dcm", **BY)
    write_labels(labels, volume.source, tmp_path / "labels.nii.gz")

    found = hd.seg.segread(tmp_path / "out" / "seg.dcm").get_volume(combine_segments=True)
    expected = nib.load(tmp_path / "labels.nii.gz")
    to_lps = np.diag([-1.0, -1, 1, 1])
    assert points(found.array, found.affine) == points(np.asarray(expected.dataobj), to_lps @ expected.affine)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["seg.dcm"]

    again = read_labels(tmp_path / "out" / "seg.dcm")
    assert np.array_equal(again.voxels, labels)
    assert same_grid(again.source, volume.source)
    assert (again.spacing_mm, again.notes) == (pytest.approx(volume.spacing_mm), ())
    assert again.voxels.dtype == np.uint8


def test_what_pydicom_finds(tmp_path):
    volume = series(tmp_path / "ct")
    labels = some_labels(volume.voxels.shape)
    write_dicom_seg(labels, volume, tmp_path / "seg.dcm", **BY)

    data = pydicom.dcmread(tmp_path / "seg.dcm")
    source = [pydicom.dcmread(path) for path in (tmp_path / "ct").iterdir()]
    by_uid = {str(one.SOPInstanceUID): one for one in source}
    assert data.SOPClassUID == pydicom.uid.SegmentationStorage
    assert (data.Modality, data.SegmentationType, data.SeriesNumber) == ("SEG", "BINARY", 1004)
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "PatientBirthDate"):
        assert data[name].value == source[0][name].value, name
    assert data.SeriesInstanceUID != source[0].SeriesInstanceUID
    assert data.SOPInstanceUID not in by_uid
    listed = data.ReferencedSeriesSequence[0]
    assert listed.SeriesInstanceUID == source[0].SeriesInstanceUID
    assert {str(item.ReferencedSOPInstanceUID) for item in listed.ReferencedInstanceSequence} == set(by_uid)

    kidney, tumor = data.SegmentSequence
    algorithm = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert (kidney.SegmentLabel, tumor.SegmentLabel, kidney.SegmentAlgorithmType) == ("Kidney", "Tumor", "AUTOMATIC")
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("kidney_seg", "0.1.0")
    for item, code in (
        (kidney.SegmentedPropertyCategoryCodeSequence[0], codes.cid7150.AnatomicalStructure),
        (kidney.SegmentedPropertyTypeCodeSequence[0], codes.SCT.Kidney),
        (tumor.SegmentedPropertyCategoryCodeSequence[0], codes.cid7150.MorphologicallyAbnormalStructure),
        (tumor.SegmentedPropertyTypeCodeSequence[0], codes.cid7159.Neoplasm),
        (tumor.AnatomicRegionSequence[0], codes.SCT.Kidney),
    ):
        assert (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) == (code.value, "SCT", code.meaning)

    seen = np.zeros(labels.shape, np.uint8)
    heights = sorted(float(one.ImagePositionPatient[2]) for one in source)
    for pixels, frame in zip(data.pixel_array, data.PerFrameFunctionalGroupsSequence, strict=True):
        refers_to = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        position = by_uid[str(refers_to)].ImagePositionPatient
        assert frame.PlanePositionSequence[0].ImagePositionPatient == position
        assert pixels.any()
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        seen[heights.index(float(position[2]))][pixels > 0] = number
    assert np.array_equal(seen, labels)
    shared = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (shared.SpacingBetweenSlices, *shared.PixelSpacing) == SPACING_MM


@pytest.mark.parametrize(("values", "segments"), [((1,), 2), ((2,), 2), ((1, 3), 3), ((), 2)])
def test_any_labels_in_one_slice_or_none_come_back(tmp_path, values, segments):
    volume = series(tmp_path / "ct")
    labels = np.zeros(volume.voxels.shape, np.uint8)
    for row, value in enumerate(values):
        labels[5, 2 + row, 3] = value
    write_dicom_seg(labels, volume, tmp_path / "seg.dcm", **BY)
    assert hd.seg.segread(tmp_path / "seg.dcm").number_of_segments == segments
    for folder in (None, tmp_path / "ct"):
        again = read_dicom_seg(tmp_path / "seg.dcm", folder)
        assert np.array_equal(again.voxels, labels)
        assert same_grid(again.source, volume.source)


def test_an_emptied_study_is_one_study(tmp_path):
    def emptied(data, k):
        whole(data, k)
        data.StudyInstanceUID = data.SeriesInstanceUID = data.SOPInstanceUID = data.SOPClassUID = ""
        del data.PatientName, data.PatientID, data.PatientBirthDate, data.SeriesNumber

    volume = series(tmp_path / "ct", change=emptied)
    labels = some_labels(volume.voxels.shape)
    for name in ("a.dcm", "b.dcm"):
        write_dicom_seg(labels, volume, tmp_path / name, **BY)
    a, b = (pydicom.dcmread(tmp_path / name) for name in ("a.dcm", "b.dcm"))
    assert a.StudyInstanceUID == b.StudyInstanceUID != ""
    assert a.SOPInstanceUID != b.SOPInstanceUID
    uids = {pydicom.dcmread(path).file_meta.MediaStorageSOPInstanceUID for path in (tmp_path / "ct").iterdir()}
    listed = a.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in listed} == uids
    assert np.array_equal(read_dicom_seg(tmp_path / "a.dcm", tmp_path / "ct").voxels, labels)


def test_of_two_series_the_one_that_it_was_made_from(tmp_path):
    def of_one_study(data, k):
        whole(data, k)
        data.StudyInstanceUID = "1.2"

    save_slices(tmp_path / "ct", slices_of(random_hu(6), change=of_one_study), "one")
    save_slices(tmp_path / "ct", slices_of(random_hu(9), uid=generate_uid(), change=of_one_study), "two")
    volume = read_volume(tmp_path / "ct", series=1)
    labels = some_labels(volume.voxels.shape)
    assert len(labels) == 6
    write_dicom_seg(labels, volume, tmp_path / "seg.dcm", **BY)
    assert np.array_equal(read_dicom_seg(tmp_path / "seg.dcm", tmp_path / "ct").voxels, labels)


def test_each_header_is_read_once_in_a_run_with_a_seg(tmp_path, monkeypatch):
    series(tmp_path / "ct")
    read: list[str] = []
    dcmread = pydicom.dcmread
    monkeypatch.setattr(
        pydicom,
        "dcmread",
        lambda path, *a, **k: (
            (None if "PixelData" in (k.get("specific_tags") or ()) else read.append(Path(path).name))
            or dcmread(path, *a, **k)
        ),
    )
    assert holds_dicom(tmp_path / "ct")
    volume = read_volume(open_series(tmp_path / "ct", for_seg=True))
    labels = some_labels(volume.voxels.shape)
    write_dicom_seg(labels, volume, tmp_path / "once.dcm", **BY)
    assert sorted(read) == sorted(path.name for path in (tmp_path / "ct").iterdir())
    write_dicom_seg(labels, read_volume(tmp_path / "ct"), tmp_path / "twice.dcm", **BY)
    assert len(read) == 3 * len(volume.voxels)
    once, twice = (pydicom.dcmread(tmp_path / name) for name in ("once.dcm", "twice.dcm"))
    differing = {data.keyword for data in once if data != twice[data.tag]}
    assert {word for word in differing if not word.endswith(("InstanceUID", "Time", "Date"))} <= {
        "ContributingEquipmentSequence", "DimensionOrganizationSequence", "DimensionIndexSequence"
    }  # fmt: skip
    assert "DOE" not in repr(volume) + repr(volume.dicom)


def test_no_seg_of_another_format(tmp_path):
    volume = series(tmp_path / "ct")
    write_labels(np.zeros(volume.voxels.shape), volume.source, tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"a\.nii\.gz: not a DICOM series"):
        write_dicom_seg(np.zeros(volume.voxels.shape), read_volume(tmp_path / "a.nii.gz"), tmp_path / "s.dcm", **BY)


def lacking(name):
    def change(data, k):
        whole(data, k)
        if k == 3:
            del data[name]

    return change


def same_instance(data, k):
    whole(data, k)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lacking("FrameOfReferenceUID"), "1 of 8 slices have no FrameOfReferenceUID"),
        (same_instance, "several slices have the same SOPInstanceUID, so a DICOM SEG cannot tell them apart"),
        (
            lambda data, k: (whole(data, k), setattr(data, "StudyInstanceUID", generate_uid())),
            "the slices have 8 values of StudyInstanceUID",
        ),
    ],
)
def test_headers_that_make_no_seg(tmp_path, capfd, change, words):
    volume = series(tmp_path / "ct", change=change)
    with pytest.raises(InputError, match=words) as caught:
        write_dicom_seg(some_labels(volume.voxels.shape), volume, tmp_path / "o" / "s.dcm", **BY)
    assert "nii.gz" in without_identifiers(one_line(caught))
    assert not (tmp_path / "o").exists()
    assert capfd.readouterr() == ("", "")


def test_labels_of_another_shape(tmp_path):
    volume = series(tmp_path / "ct")
    with pytest.raises(ValueError, match="shape"):
        write_dicom_seg(np.zeros((3, 9, 7), np.uint8), volume, tmp_path / "s.dcm", **BY)


@pytest.fixture
def seg(tmp_path):
    """A SEG, its labels, and a way to change it."""
    volume = series(tmp_path / "ct")
    labels = some_labels(volume.voxels.shape)
    path = tmp_path / "seg.dcm"
    write_dicom_seg(labels, volume, path, **BY)

    def change(alter):
        data = pydicom.dcmread(path)
        alter(data)
        data.save_as(path)

    return path, labels, change


def test_slices_listed_downward_or_in_no_order(seg, tmp_path):
    path, labels, change = seg
    change(lambda data: data.ReferencedSeriesSequence[0].ReferencedInstanceSequence.reverse())
    assert np.array_equal(read_labels(path).voxels, labels)
    change(lambda data: random.Random(0).shuffle(data.ReferencedSeriesSequence[0].ReferencedInstanceSequence))
    alone = read_labels(path)
    assert np.array_equal(alone.voxels, labels[2:-2])
    assert "only its own slices" in alone.notes[0]
    assert np.array_equal(read_dicom_seg(path, tmp_path / "ct").voxels, labels)
    change(lambda data: delattr(data, "ReferencedSeriesSequence"))
    assert np.array_equal(read_labels(path).voxels, labels[2:-2])


def test_a_kidney_that_holds_its_tumor_and_names_instead_of_codes(tmp_path):
    """As other programs write it: segments overlap, have other codes, and are in another order."""
    folder = save_slices(tmp_path / "ct", slices_of(random_hu(4), change=whole))
    source = sorted((pydicom.dcmread(p) for p in folder.iterdir()), key=lambda data: data.ImagePositionPatient[2])
    for data in source:
        data.SliceThickness = 2.5
        for name in ("PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
            setattr(data, name, None)
    kidney, tumor = np.zeros((2, 4, 9, 7), bool)
    kidney[:, 2:7, 2:6], tumor[1:3, 4:8, 3:5] = True, True
    named = [
        hd.seg.SegmentDescription(number, label, codes.SCT.Tissue, codes.SCT.Organ, "MANUAL")
        for number, label in ((1, "renal tumour"), (2, "Left kidney"))
    ]
    made = hd.seg.Segmentation(
        source, np.stack([tumor, kidney], axis=-1), "BINARY", named, hd.UID(), 1, hd.UID(), 1, "A", "B", "1", "2"
    )  # fmt: skip
    made.save_as(tmp_path / "seg.dcm")
    assert np.array_equal(read_labels(tmp_path / "seg.dcm").voxels, np.where(tumor, 2, kidney))


def spoil(data, name):
    frame = data.PerFrameFunctionalGroupsSequence[0]
    if name == "fractional":
        data.SegmentationType = "FRACTIONAL"
    elif name == "liver":
        data.SegmentSequence[0].SegmentLabel = "Liver"
        data.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = codes.SCT.Liver.value
    elif name == "no type":
        del data.SegmentationType
    elif name == "no segments":
        del data.SegmentSequence
    elif name == "undescribed":
        del data.SegmentSequence[1]
    elif name == "two spacings":
        other = copy.deepcopy(data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence)
        other[0].PixelSpacing = [2, 2]
        frame.PixelMeasuresSequence = other
    elif name == "compressed":
        data.file_meta.TransferSyntaxUID = HTJ2K
        data.PixelData = encapsulate([data.PixelData])
        data["PixelData"].is_undefined_length = True
    elif name == "no position":
        del frame.PlanePositionSequence
    else:
        axis, mm = (2, 1e9) if name == "far off" else (0, 5.0)
        frame.PlanePositionSequence[0].ImagePositionPatient[axis] = mm


def test_files_that_are_no_labels(seg, tmp_path):
    path, _, change = seg
    content = path.read_bytes()

    def refused(words, **arguments):
        with pytest.raises(InputError, match=words) as caught:
            read_dicom_seg(path, **arguments)
        assert str(path) in without_identifiers(one_line(caught))

    for part in (140, len(content) // 2, len(content) - 100):
        path.write_bytes(content[:part])
        refused("truncated or damaged|another kind|lacks")
    path.write_bytes(b"no DICOM" * 100)
    refused("not a DICOM file")
    path.write_bytes(next((tmp_path / "ct").iterdir()).read_bytes())
    refused("another kind")
    for name, words in (
        ("fractional", "fractional"),
        ("liver", "segment 1 is none of"),
        ("no type", "has no SegmentationType that is known"),
        ("no segments", "lacks the description of its segments"),
        ("undescribed", "pixels of segment 2, which is not described"),
        ("two spacings", "frames have several orientations or spacings"),
        ("compressed", "frames are compressed in a way that is not read; convert it"),
        ("no position", "lacks the position of its frames"),
        ("far off", "GiB|are not on a slice"),
        ("sideways", "are not on a slice"),
    ):
        path.write_bytes(content)
        change(lambda data, name=name: spoil(data, name))
        refused(words)
    path.write_bytes(content)
    save_slices(tmp_path / "other", slices_of(random_hu(8, 9, 8), uid=generate_uid(), change=whole))
    refused("are not placed like the slices", folder=tmp_path / "other")
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "absent.dcm")


def test_real_series(shared_data, tmp_path):
    folder = shared_data / "dicom_series"
    volume = read_volume(folder)
    labels = np.zeros(volume.voxels.shape, np.uint8)
    labels[3:12, 200:300, 100:180] = 1
    labels[5:14, 250:280, 150:210] = 2
    write_dicom_seg(labels, volume, tmp_path / "seg.dcm", **BY)
    write_labels(labels, volume.source, tmp_path / "labels.nii.gz")

    opened = hd.seg.segread(tmp_path / "seg.dcm")
    found = opened.get_volume(combine_segments=True)
    expected = nib.load(tmp_path / "labels.nii.gz")
    to_lps = np.diag([-1.0, -1, 1, 1])
    assert points(found.array, found.affine) == points(np.asarray(expected.dataobj), to_lps @ expected.affine)
    uids = {pydicom.dcmread(p).file_meta.MediaStorageSOPInstanceUID for p in folder.iterdir()}
    assert {uid for _, _, uid in opened.get_source_image_uids()} == uids
    assert np.array_equal(read_labels(tmp_path / "seg.dcm").voxels, labels)


@pytest.mark.parametrize(
    ("values", "emptied"),
    [
        ({"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"}, []),
        ({"SpecificCharacterSet": ["", "ISO 2022 IR 149"]}, []),
        ({"SpecificCharacterSet": ""}, []),
        ({"PatientSex": "U"}, ["PatientSex"]),
        ({"PatientBirthDate": "00000000"}, ["PatientBirthDate"]),
        ({"StudyTime": "12:00:00"}, ["StudyTime"]),
        ({"StudyTime": "anonymized", "StudyDate": "anonymized"}, ["StudyDate", "StudyTime"]),
    ],
)
def test_values_that_a_seg_cannot_hold_are_empty_and_named(tmp_path, capfd, values, emptied):
    def change(data, k):
        whole(data, k)
        for name, value in values.items():
            setattr(data, name, value)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of such values
        volume = series(tmp_path / "ct", change=change)
    write_dicom_seg(some_labels(volume.voxels.shape), volume, tmp_path / "seg.dcm", **BY)
    made = pydicom.dcmread(tmp_path / "seg.dcm")
    kept = open_series(tmp_path / "ct", for_seg=True)
    for _ in range(2):  # the headers stay as they are
        assert check_series(open_series(tmp_path / "ct")) == check_series(kept) == emptied
    write_dicom_seg(some_labels(volume.voxels.shape), read_volume(kept), tmp_path / "kept.dcm", **BY)
    again = pydicom.dcmread(tmp_path / "kept.dcm")
    assert (again.PatientName, again.get("PatientSex")) == (made.PatientName, made.get("PatientSex"))
    assert all(not made.get(name) for name in emptied)
    if "PatientName" in values:
        assert str(made.PatientName) == values["PatientName"]
    assert capfd.readouterr() == ("", "")


ANY = (
    "",
    "x",
    "\\",
    "-1",
    "99999999999",
    "nan",
    "2020",
    "\x00\x01",
    "\u00e9\u5c71",
    "1\\2\\3",
    "^",
    "=" * 70,
    "1." * 40,
)


@pytest.mark.parametrize("seed", range(12))
def test_any_value_of_patient_and_study_makes_a_seg_or_is_refused_before(tmp_path, capfd, seed):
    """What `check_series` promises, `write_dicom_seg` keeps; identifiers stay in the file."""
    names = [
        *("PatientID", "PatientName", "PatientSex", "PatientBirthDate", "PatientAge", "PatientWeight", "PatientSize"),
        *("StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber", "ReferringPhysicianName"),
        *("SeriesNumber", "SliceThickness", "StudyInstanceUID", "FrameOfReferenceUID"),
        *("EthnicGroup", "Occupation", "PatientComments", "SmokingStatus", "OtherPatientIDs"),
    ]
    rng = random.Random(seed)
    values = {name: rng.choice(ANY) for name in rng.sample(names, 6)}

    def change(data, k):
        whole(data, k)
        for name, value in values.items():
            data.add(RawDataElement(Tag(name), dictionary_VR(name), len(value), value.encode("utf-8"), 0, False, True))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_slices(tmp_path / "ct", slices_of(random_hu(4), change=change))
        volume = read_volume(tmp_path / "ct")
        promised = None
        try:
            promised = check_series(volume.dicom)
        except InputError as error:
            without_identifiers(str(error))
        labels = some_labels(volume.voxels.shape)
        if promised is None:
            with pytest.raises(InputError):
                write_dicom_seg(labels, volume, tmp_path / "seg.dcm", **BY)
        else:
            write_dicom_seg(labels, volume, tmp_path / "seg.dcm", **BY)
            made = pydicom.dcmread(tmp_path / "seg.dcm")
            assert all(not made.get(name) for name in promised)
            assert np.array_equal(read_dicom_seg(tmp_path / "seg.dcm", tmp_path / "ct").voxels, labels)
    assert capfd.readouterr() == ("", "")


def deflated_bomb(path, what):
    """Return a deflated SEG whose pixels, or a text before them, inflate to 1 GiB of zeros."""
    data = pydicom.dcmread(path)
    meta, packer = path.read_bytes(), zlib.compressobj(1, wbits=-15)
    meta = meta[: 144 + data.file_meta.FileMetaInformationGroupLength]
    del data.PixelData
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = False, True
    write_dataset(file, data)
    parts = [meta, packer.compress(file.getvalue())]
    tag = (0x7FE0, 0x0010) if what == "pixels" else (0x6FFF, 0x1001)
    parts.append(packer.compress(struct.pack("<HH2sHI", *tag, b"OB", 0, 1 << 30)))
    parts += [packer.compress(bytes(1 << 20)) for _ in range(1 << 10)]
    return b"".join([*parts, packer.flush()])


def test_a_deflated_seg_inflates_to_no_more_than_its_header_promises(seg, tmp_path):
    path, labels, change = seg
    change(lambda data: setattr(data.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian))
    assert np.array_equal(read_labels(path).voxels, labels)

    for what, words in (("pixels", "inflates to more than its header says"), ("text", "64 MiB before its pixels")):
        bomb = tmp_path / f"{what}.dcm"
        bomb.write_bytes(deflated_bomb(path, what))
        assert bomb.stat().st_size < 6 << 20
        code = (
            "import sys; from data_prep.volume import read_labels; from data_prep.errors import InputError\n"
            "import pydicom, SimpleITK, numpy\n"
            "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) >> 10\n"
            "before = peak()\n"
            "try: read_labels(sys.argv[1])\n"
            "except InputError as error: print(error); print(peak() - before)"
        )
        done = subprocess.run([sys.executable, "-c", code, bomb], capture_output=True, text=True, check=True)
        line, more_mib = done.stdout.splitlines()
        assert words in line and str(bomb) in line
        assert int(more_mib) < 300
