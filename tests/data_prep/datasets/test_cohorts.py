"""Which cohort a case is of: simulated ones by mark and record, KiTS by names and axes, all others by neither."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.helpers import KITS_AFFINE, save

from data_prep.datasets.cohorts import kind_of_case
from data_prep.datasets.kits import find_cases
from data_prep.origin import Origin, joined
from data_prep.phantom.cohort import write_cohort

DIAGONAL = np.diag([-0.8, -0.8, 3.0, 1.0])


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cohort") / "patients"
    write_cohort(root, cases=1, size=32, slices=8)
    return root


def kind(root: Path, **patterns: str) -> str:
    (case,) = find_cases(root, **patterns)[0]
    return kind_of_case(case.name, case.image, case.labels, case.metadata)


def written(root: Path, name: str, affine: np.ndarray = KITS_AFFINE, labels: str = "segmentation") -> Path:
    (root / name).mkdir(parents=True)
    save(root / name / "imaging.nii.gz", np.zeros((4, 8, 8), np.int16), affine)
    save(root / name / f"{labels}.nii.gz", np.zeros((4, 8, 8), np.uint8), affine)
    return root


def test_simulated_patients_stay_so_wherever_they_are_moved(simulated: Path, tmp_path: Path) -> None:
    assert kind(simulated) == kind(simulated / "case_00000") == "simulated"
    own = tmp_path / "renamed" / "patient7"
    own.mkdir(parents=True)
    for name in ("imaging.nii.gz", "segmentation.nii.gz"):  # without the generator's records
        shutil.copy(simulated / "case_00000" / name, own / name)
    assert kind(tmp_path / "renamed") == "simulated"
    flat = tmp_path / "imagesTr"
    flat.mkdir()
    shutil.copy(own / "imaging.nii.gz", flat / "case_00000_0000.nii.gz")
    assert kind(tmp_path, images="imagesTr/{case}_0000.nii.gz") == "simulated"


def test_patients_of_version_0_1_are_known_by_their_records(simulated: Path, tmp_path: Path) -> None:
    written(tmp_path / "old", "case_00000")  # files without the mark
    assert kind(tmp_path / "old") == "kits19"
    shutil.copy(simulated / "phantom.json", tmp_path / "old" / "phantom.json")
    assert kind(tmp_path / "old") == "simulated"


@pytest.mark.parametrize(
    ("name", "affine", "labels", "expected"),
    [
        ("case_00000", KITS_AFFINE, "segmentation", "kits19"),
        ("case_00299", KITS_AFFINE, "segmentation", "kits19"),
        ("case_00135_s0103", KITS_AFFINE, "segmentation", "kits19"),
        ("case_00007", KITS_AFFINE, "aggregated_MAJ_seg", "kits21"),
        ("case_00400", KITS_AFFINE, "segmentation", "kits23"),
        ("case_00300", KITS_AFFINE, "segmentation", "other"),
        ("case_00000", DIAGONAL, "segmentation", "other"),
        ("patient7", KITS_AFFINE, "segmentation", "other"),
    ],
)
def test_kits_by_names_and_axes(tmp_path: Path, name: str, affine: np.ndarray, labels: str, expected: str) -> None:
    assert kind(written(tmp_path, name, affine, labels)) == expected


def test_kits23_by_its_folder_and_any_kits_by_its_table(tmp_path: Path) -> None:
    written(tmp_path / "a", "case_00001")
    (tmp_path / "a" / "case_00001" / "instances").mkdir()
    assert kind(tmp_path / "a") == "kits23"
    written(tmp_path / "b", "case_00001", DIAGONAL)
    (tmp_path / "b" / "kits.json").write_text('[{"case_id": "case_00001", "gender": "male"}]')
    assert kind(tmp_path / "b") == "kits19"


def test_real_labels_are_of_kits19(shared_data: Path) -> None:
    path = shared_data / "kits19_labels" / "case_00000" / "segmentation.nii.gz"
    assert kind_of_case("case_00000", None, path) == "kits19"


@pytest.mark.parametrize(
    ("kinds", "given", "expected", "text"),
    [
        (["simulated"] * 2, None, "simulated", "simulated patients"),
        (["simulated", "kits19"], None, "mixed", "simulated patients and others"),
        (["simulated"], "kits19", "simulated", "simulated patients (kits19)"),
        (["kits19", "kits19"], None, "kits19", "KiTS19 patients"),
        (["kits19", "other"], None, "other", "other patients"),
        (["kits19"], "hospital A", "other", "hospital A"),
        (["other"], "KiTS23", "kits23", "KiTS23 patients"),
        (["unknown"], None, "unknown", "patients of unknown origin"),
        ([], None, "unknown", "patients of unknown origin"),
    ],
)
def test_the_origin_of_all(kinds: list[str], given: str | None, expected: str, text: str) -> None:
    found = joined(kinds, given)
    assert (found.kind, str(found)) == (expected, text)
    assert ("not for real scans" in found.trained) == (expected == "simulated")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of simulated"):
        Origin("martian")
