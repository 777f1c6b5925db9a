"""What the user gives: kinds by ending, cases with their truth, folders of predictions, series of a study."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import numpy as np
import pytest
from support.dicom_files import save_slices, slices_of, write_study, zipped
from support.helpers import one_line, save

from data_prep.errors import InputError
from data_prep.formats.image_source import FILE_ENDINGS
from kidney_seg.app.entries import Source
from kidney_seg.app.opening import KINDS, ending_of, open_paths, series_to_choose

HU = np.zeros((6, 8, 8), np.int16)
LABELS = np.zeros((6, 8, 8), np.uint8)


def test_kinds_by_ending():
    assert [ending_of(name) for name in ("A.NII.GZ", "b.nrrd", "c.mha", "d.nii", "e.zip")] == [
        ".nii.gz", ".nrrd", ".mha", ".nii", ".zip"
    ]  # fmt: skip
    for name in ("scan.dcm", "nii.gz.exe", "", "scan"):
        with pytest.raises(InputError, match="expected a file that ends in") as caught:
            ending_of(name)
        one_line(caught)


def test_every_image_format_is_a_kind_and_the_page_names_all_kinds():
    assert set(FILE_ENDINGS) < set(KINDS)
    page = (files("kidney_seg.app") / "assets" / "page.html").read_text(encoding="utf-8")
    (accepted,) = re.findall(r'accept="([^"]*)"', page)
    assert set(accepted.split(",")) == {"." + ending.rpartition(".")[2] for ending in KINDS}
    assert [ending for ending in KINDS if f"{ending}," not in page and f"{ending} " not in page] == []


def test_a_case_has_its_truth(tmp_path):
    folder = tmp_path / "case_00003"
    folder.mkdir()
    image, truth = save(folder / "imaging.nii.gz", HU), save(folder / "segmentation.nii.gz", LABELS)
    assert open_paths(str(folder)) == ("NIfTI", Source(image, None, truth))
    assert open_paths(str(image)) == ("NIfTI", Source(image))
    out = tmp_path / "out"
    out.mkdir()
    for name in ("case_00001", "case_00003"):
        save(out / f"{name}.nii.gz", LABELS)
    assert open_paths(str(folder), str(out))[1].labels == out / "case_00003.nii.gz"
    assert open_paths(str(image), str(out))[1].labels == out / "case_00003.nii.gz"
    (out / "case_00003.nii.gz").unlink()
    save(out / "case_00004.nii.gz", LABELS)
    with pytest.raises(InputError, match="2 label files, none of this scan's name"):
        open_paths(str(folder), str(out))


def test_records_tell_labels_from_other_files(tmp_path):
    scan = save(tmp_path / "scan.nii.gz", HU)
    out = tmp_path / "out"
    out.mkdir()
    save(out / "anything.nii.gz", LABELS)
    labels = save(out / "result.nii.gz", LABELS)
    (out / "result.json").write_text(json.dumps({"program": "kidney_seg 0.2.0", "files": {"result.nii.gz": "0"}}))
    assert open_paths(str(scan), str(out))[1].labels == labels


def test_what_does_not_exist(tmp_path):
    (tmp_path / "empty").mkdir()
    for texts, word in (
        (("",), "expected a whole path"),
        (("scans/one",), "expected a whole path"),
        ((str(tmp_path / "no"),), "no such file or folder"),
        ((str(tmp_path / "empty"),), "holds no scan"),
    ):
        with pytest.raises(InputError, match=word) as caught:
            open_paths(*texts)
        one_line(caught)


def test_a_folder_of_cases_is_refused(tmp_path):
    for name in ("case_00000", "case_00001"):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "imaging.nii.gz", HU)
    with pytest.raises(InputError, match="holds 2 cases"):
        open_paths(str(tmp_path))


def test_series_of_a_study(tmp_path):
    study = write_study(tmp_path / "study", HU)
    for source in (Source(study), Source(zipped(write_study(tmp_path / "other", HU), tmp_path / "study.zip"))):
        choices, _ = series_to_choose(source)
        assert len(choices) == 2 and choices[0]["series"] is None
        assert "portal venous" in choices[0]["text"] and "native" in choices[1]["text"]
    assert series_to_choose(Source(save_slices(tmp_path / "one", slices_of(HU))))[0] == []
    assert series_to_choose(Source(save(tmp_path / "scan.nii.gz", HU))) == ([], [])
    with pytest.raises(InputError, match="MR"):
        series_to_choose(Source(write_study(tmp_path / "mr", HU, modality="MR")))


def test_series_of_two_studies_are_told_by_their_keys(tmp_path):
    for number in (1, 2):
        write_study(tmp_path / "both" / str(number), HU, number)
    choices, _ = series_to_choose(Source(tmp_path / "both"))
    assert (
        len(choices) == 4
        and len({one["series"] for one in choices}) == 4
        and None not in [one["series"] for one in choices]
    )
