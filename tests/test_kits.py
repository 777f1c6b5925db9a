from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.command import InputError
from data_prep.kits import CLASS_NAMES, find_cases, patient_of


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_the_index_of_a_class_is_its_label() -> None:
    assert CLASS_NAMES == ("background", "kidney", "tumor")


def test_the_patient_is_the_case_number() -> None:
    assert patient_of("case_00135_s0103") == "case_00135"
    assert patient_of("case_00135") == "case_00135"
    assert patient_of("volunteer_7") == "volunteer_7"


def test_cases_are_found_sorted_and_problems_are_named(tmp_path: Path) -> None:
    touch(
        tmp_path / "case_00002" / "imaging.nii.gz",
        tmp_path / "case_00002" / "segmentation.nii.gz",
        tmp_path / "case_00001_s0010" / "imaging.nii",
        tmp_path / "case_00001_s0010" / "segmentation.nii",
        tmp_path / "case_00003" / "segmentation.nii.gz",
        tmp_path / "case_00004" / "imaging.nii.gz",
        tmp_path / "case_00005" / "notes.txt",
        tmp_path / "clinic-1" / "imaging.nii.gz",
        tmp_path / "docs" / "readme.txt",
        tmp_path / "kits.json",
    )
    cases, problems = find_cases(tmp_path)
    assert [(case.name, case.patient) for case in cases] == [
        ("case_00001_s0010", "case_00001"),
        ("case_00002", "case_00002"),
        ("case_00004", "case_00004"),
        ("clinic-1", "clinic-1"),
    ]
    assert cases[0].image == tmp_path / "case_00001_s0010" / "imaging.nii"
    assert cases[1].labels == tmp_path / "case_00002" / "segmentation.nii.gz"
    assert cases[2].labels is None
    assert problems == [
        "case_00003: has no imaging.nii.gz: left out",
        "case_00004: has no labels: usable for prediction only",
        "case_00005: has no imaging.nii.gz: left out",
        "clinic-1: has no labels: usable for prediction only",
    ]


def test_one_case_folder_is_a_cohort_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "case_00007_s0001"
    touch(folder / "imaging.nii.gz", folder / "segmentation.nii.gz")
    for root in (folder, str(folder)):
        (case,), problems = find_cases(root)
        assert (case.name, case.patient, problems) == ("case_00007_s0001", "case_00007", [])
    monkeypatch.chdir(folder)
    assert find_cases(".")[0][0].name == "case_00007_s0001"


def test_folders_without_cases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_cases(tmp_path / "absent")
    with pytest.raises(InputError, match="no case folder"):
        find_cases(tmp_path)
    touch(tmp_path / "file")
    with pytest.raises(InputError, match="is a file"):
        find_cases(tmp_path / "file")
    touch(tmp_path / "case_00000" / "segmentation.nii.gz")
    with pytest.raises(InputError, match="1 case folders without imaging"):
        find_cases(tmp_path)


def test_the_real_folders_are_read_as_they_are(shared_data: Path) -> None:
    cases, problems = find_cases(shared_data / "kits_real_slices")
    assert (len(cases), len({case.patient for case in cases}), problems) == (211, 170, [])
    with pytest.raises(InputError, match="126 case folders without imaging"):
        find_cases(shared_data / "kits19_labels")
    assert len(find_cases(shared_data / "real_ct")[0]) == 1
