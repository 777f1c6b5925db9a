"""What is a scan, what a folder of them, what a list."""

from __future__ import annotations

import numpy as np
import pytest
from support.dicom_files import random_hu, save_slices, slices_of
from support.helpers import one_line, save

from data_prep.errors import InputError
from data_prep.scans import Choice, find_scans


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
