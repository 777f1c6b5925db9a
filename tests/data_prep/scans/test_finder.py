"""What is a scan, what a folder of them, what a list."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile

import numpy as np
import pydicom
import pytest
from support.dicom_files import random_hu, save_slices, slices_of, write_study, zipped
from support.helpers import one_line, save

from data_prep.dicom.headers import series_key
from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.scans import Choice, find_scans, read_scan


@pytest.fixture
def data(tmp_path):
    for name in ("case_00000", "case_00001"):
        (tmp_path / "cases" / name).mkdir(parents=True)
        save(tmp_path / "cases" / name / "imaging.nii.gz", np.zeros((2, 4, 4), np.int16))
    save(tmp_path / "scan.nii.gz", np.zeros((2, 4, 4), np.int16))
    save_slices(tmp_path / "series", slices_of(random_hu()))
    return tmp_path


def names(found):
    return [scan.name for scan in found[0]], found[1]


def test_one_scan_by_itself(data):
    assert names(find_scans([data / "scan.nii.gz"])) == (["scan"], True)
    assert names(find_scans([data / "series"])) == (["series"], True)
    assert names(find_scans([data / "cases" / "case_00001" / "imaging.nii.gz"])) == (["case_00001"], True)
    ((scan,), single) = find_scans([data / "series"], Choice(series="1"))
    assert (scan.series, single) == ("1", True)


def test_several(data):
    assert names(find_scans([data / "cases"])) == (["case_00000", "case_00001"], False)
    assert names(find_scans([data / "series", data / "scan.nii.gz"])) == (["series", "scan"], False)
    assert names(find_scans([data / "cases" / "case_00001"])) == (["case_00001"], False)  # a folder of one case


def test_a_list_is_relative_to_its_own_folder(data, monkeypatch):
    (data / "list.txt").write_text("# mine\nscan.nii.gz\n\ncases\n  series  \n/gone/x.nrrd\n")
    monkeypatch.chdir("/")
    found = find_scans([f"@{data / 'list.txt'}"])
    assert names(found) == (["scan", "case_00000", "case_00001", "series", "x"], False)
    (data / "list.txt").write_text("scan.nii.gz\n")
    assert names(find_scans([f"@{data / 'list.txt'}"])) == (["scan"], True)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (["gone.nii.gz"], "no such file"),
        (["scan.nii.gz", "copy/scan.nii.gz"], "would both be written as scan"),
        (["@empty.txt"], "names no scan"),
        (["@gone.txt"], "cannot be read"),
        (["@scan.nii.gz"], "cannot be read"),
        (["nothing"], "no case"),
        (["scan.nii.gz", "<b>.nii.gz"], "cannot name a file"),
    ],
)
def test_refused(data, inputs, words, monkeypatch):
    monkeypatch.chdir(data)
    (data / "empty.txt").write_text("\n# none\n")
    (data / "nothing").mkdir()
    with pytest.raises(InputError, match=words) as caught:
        find_scans(inputs)
    one_line(caught)


def test_a_series_is_chosen_in_one_folder_alone(data):
    with pytest.raises(InputError, match="2 inputs"):
        find_scans([data / "series", data / "scan.nii.gz"], Choice(series="1"))


HU = random_hu(4)


def found(inputs, **choice):
    lines = []
    scans, single = find_scans(inputs, Choice(**choice), lines.append)
    return {scan.name: scan for scan in scans}, single, lines


def test_every_study_of_a_tree_is_a_scan_of_its_best_series(tmp_path):
    for number, place in enumerate(("p1", "p2/2020", "disk/DICOM"), 1):
        write_study(tmp_path / place, HU, number)
    scans, single, lines = found([tmp_path])
    assert (list(scans), single) == (["disk", "p1", "p2_2020"], False)
    for scan in scans.values():
        assert len(scan.files) == 4 and {path.parent.name for path in scan.files} == {"SE3"}  # thin, portal venous
        assert read_scan(scan).voxels.shape == HU.shape and scan.problem is None
    assert found([tmp_path / "p1"])[1] and found([tmp_path / "disk" / "DICOM"])[1]
    first = min(file.file for file in scans["p1"].found.slices)
    everything = sorted((path for path in tmp_path.rglob("*") if path.is_file()), key=os.fsencode)
    assert everything[first - 1].parent == tmp_path / "p1" / "SE3"  # files are numbered as the docs say
    (tmp_path / "disk" / "DICOMDIR").write_bytes(b"")
    assert [*found([tmp_path / "disk" / "DICOMDIR"])[0]] == ["disk"]
    assert lines == []


def test_studies_that_lie_in_one_folder_or_share_a_folder_s_name_get_keys(tmp_path):
    for number in (1, 2):
        write_study(tmp_path / "a" / str(number), HU, number)
        for path in sorted((tmp_path / "a" / str(number)).rglob("*.dcm")):
            (tmp_path / "flat").mkdir(exist_ok=True)
            path.rename(tmp_path / "flat" / f"{number}_{path.name}")
    scans, single, _ = found([tmp_path / "flat"])
    assert len(scans) == 2 and not single
    assert all(name.startswith("flat-") and len(name) == len("flat-") + 8 for name in scans)
    assert {name.removeprefix("flat-") for name in scans} == {scan.study for scan in scans.values()}
    assert list(found([tmp_path / "flat"], name_by="patient-id")[0]) == ["MRN-0001", "MRN-0002"]
    assert all(name.startswith("study-") for name in found([tmp_path / "flat"], name_by="key")[0])


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("DOE_JANE", ""), ("doe", ""), ("MRN-0001", ""), ("x_mrn-0001_y", ""), ("1.2.826.0.1.3680043.10", ""),
        ("deer", "deer"), ("janet", ""), ("Jan", "Jan"), ("p 1", "p 1"), ("a&b", "a_b"), ("\u00fc", "\u00fc"),
    ],
)  # fmt: skip
def test_names_hold_nothing_of_the_patient(tmp_path, folder, name):
    write_study(tmp_path / "one" / folder, HU, 1)
    write_study(tmp_path / "two", HU, 2)
    (scan,) = (scan for key, scan in found([tmp_path])[0].items() if key != "two")
    assert scan.name == (f"one_{name}" if name else "one")


def test_a_header_without_identity_leaves_the_folder_s_name(tmp_path):
    write_study(tmp_path / "DOE", HU, 1)
    for path in (tmp_path / "DOE").rglob("*.dcm"):
        data = pydicom.dcmread(path)
        data.PatientIdentityRemoved = "YES"
        data.save_as(path)
    write_study(tmp_path / "two", HU, 2)
    assert list(found([tmp_path])[0]) == ["DOE", "two"]


def test_zip_files_and_copies(tmp_path):
    write_study(tmp_path / "plain", HU, 1)
    shutil.copytree(tmp_path / "plain", tmp_path / "z_again")
    inner = zipped(write_study(tmp_path / "w", HU, 2), tmp_path / "outer" / "inner.ZIP")
    shutil.copy(inner, inner.with_name("twice.zip"))
    zipped(tmp_path / "outer", tmp_path / "cd.zip")
    scans, _, _ = found([tmp_path])
    assert sorted(scans) == ["cd", "plain"]
    assert scans["plain"].found.notes[-1] == "8 files skipped: copies of images that lie elsewhere"
    np.testing.assert_array_equal(read_scan(scans["cd"]).voxels, read_scan(scans["plain"]).voxels)
    assert scans["cd"].sha256() == hashlib.sha256(f"{sha256_of(tmp_path / 'cd.zip')}\n".encode()).hexdigest()
    assert found([tmp_path / "cd.zip"])[1]
    (tmp_path / "cd.zip").write_bytes((tmp_path / "cd.zip").read_bytes()[:-50])
    scans, _, _ = found([tmp_path])
    (damaged,) = (scan for name, scan in scans.items() if name.startswith("unread-"))
    assert "cannot be unzipped" in str(damaged.problem) and "cd.zip" in str(damaged.problem)
    with zipfile.ZipFile(tmp_path / "cd.zip", "w") as archive:
        archive.writestr("a.txt", "no DICOM")
    assert list(found([tmp_path])[0]) == ["plain"]
    with pytest.raises(InputError, match="hold no DICOM image"):
        found([tmp_path / "cd.zip"])


def test_series_are_chosen_by_key_or_all(tmp_path):
    write_study(tmp_path / "p1", HU, 1)
    write_study(tmp_path / "p2", HU, 2)
    key = series_key("1.2.826.0.1.3680043.10.99.2.2")  # the thick one
    scans, _, _ = found([tmp_path], series=key)
    assert list(scans) == ["p2"] and len(scans["p2"].files) == 2
    assert len(found([tmp_path / "p1"], series="2")[0]["p1"].files) == 2
    for series, inputs in (("2", [tmp_path]), ("ffffffff", [tmp_path]), (key, [tmp_path, tmp_path / "p2"])):
        with pytest.raises(InputError, match=f"--series {series}: found") as caught:
            found(inputs, series=series)
        assert "--all-series" in one_line(caught)
    scans, _, _ = found([tmp_path], all_series=True)
    assert sorted(len(scan.files) for scan in scans.values()) == [2, 2, 4, 4]
    assert f"p2_series-{key}" in scans


def test_mixed_folders_and_what_is_no_scan(tmp_path):
    write_study(tmp_path / "pacs" / "p1", HU, 1)
    image = np.zeros((2, 4, 4), np.int16)
    for name in (
        "imagesTr/liver_1_0000.nii.gz", "imagesTr/liver_1_0001.nii.gz", "labelsTr/liver_1.nii.gz", "flat/x.nii.gz",
        "flat/x_seg.nii.gz", "flat/y.seg.nrrd.nii", "more/x.nii.gz", "case_00001/imaging.nii.gz", ".git/z.nii.gz",
        "case_00001/segmentation.nii.gz", "case_00001/segmentations/a.nii.gz", "out/p1.nii.gz", "old/w.nii.gz",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        save(tmp_path / name, image)
    (tmp_path / "old" / "w.json").write_text('{"program": "kidney_seg 1", "files": {}}')  # our labels
    (tmp_path / "case_00002").mkdir()
    (tmp_path / "notes.txt").write_text("no scan")
    scans, single, lines = found([tmp_path], out=tmp_path / "out")
    assert sorted(scans) == ["case_00001", "liver_1", "pacs_p1", "x-flat", "x-more", "y.seg.nrrd"] and not single
    assert any("case_00002: has no imaging" in line for line in lines)
    assert any("3 files or folders of labels skipped" in line for line in lines), lines


def test_a_folder_of_which_nothing_is_read_says_why(tmp_path):
    whole = save_slices(tmp_path / "whole", slices_of(HU))
    for name in ("links", "bare", "damaged"):
        (tmp_path / name).mkdir()
    for path in whole.iterdir():
        (tmp_path / "links" / path.name).symlink_to(path)
        (tmp_path / "bare" / path.name).write_bytes(path.read_bytes()[132:])
        (tmp_path / "damaged" / path.name).write_bytes(path.read_bytes()[:140])
    with pytest.raises(InputError, match="links: no scan found; 4 links, which are not followed; give their targets"):
        found([tmp_path / "links"])
    np.testing.assert_array_equal(read_scan(found([tmp_path / "bare"])[0]["bare"]).voxels, HU)
    with pytest.raises(InputError, match=r"damaged: no DICOM file can be read: 4 with a header that"):
        (scan,) = found([tmp_path / "damaged"])[0].values()
        read_scan(scan)


def test_studies_that_cannot_be_read_are_scans_with_a_problem(tmp_path):
    write_study(tmp_path / "mr", HU, 1, modality="MR")
    write_study(tmp_path / "ok", HU, 2)
    gap = write_study(tmp_path / "gap", HU, 3)
    for series in ("SE2", "SE3"):
        for path in sorted((gap / series).iterdir())[1:]:
            path.unlink()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "a.dcm").write_bytes(b"not found")
    for path in (tmp_path / "ok" / "SE4").iterdir():
        data = pydicom.dcmread(path)
        data.StudyInstanceUID = "1.2.3"  # a report alone is no scan
        data.save_as(path)
    scans, _, lines = found([tmp_path])
    problems = {name: str(scan.problem) for name, scan in scans.items() if scan.problem}
    assert {name for name in scans if name not in problems} == {"ok"} and len(problems) == 3
    assert "found MR (3 series)" in problems["mr"] and "one slice" in problems["gap"]
    (unread,) = (text for name, text in problems.items() if name.startswith("unread-"))
    assert "1 named .dcm, but no DICOM" in unread and lines == ["note: 1 studies without an image skipped"]
    for name in problems:
        with pytest.raises(InputError):
            read_scan(scans[name])
