from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter, namedtuple
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.helpers import save

import data_prep
from data_prep.check import case as check_case
from data_prep.check import folder as check
from data_prep.check.__main__ import main
from data_prep.check.case import CaseReport, Task
from data_prep.check.findings import KINDS, SEVERITIES, finding
from data_prep.check.folder import check_folder
from data_prep.errors import InputError
from data_prep.phantom.cohort import write_cohort

IMAGE, LABELS = "imaging.nii.gz", "segmentation.nii.gz"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cohort") / "patients"
    write_cohort(root, cases=3, size=64, slices=20)
    return root


@pytest.fixture
def data(cohort: Path, tmp_path: Path) -> Path:
    """A copy of the cohort to be changed."""
    return Path(shutil.copytree(cohort, tmp_path / "data"))


def codes(root: Path, *arguments: str | None, **options: object) -> Counter:
    return Counter(one.code for one in check_folder(root, *arguments, **options).findings)


def test_a_sound_cohort_ends_with_0(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    before = {path: path.read_bytes() for path in cohort.rglob("*") if path.is_file()}
    assert main([str(cohort), "--json", str(tmp_path / "report.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{cohort}: 3 cases without problems"
    assert re.fullmatch(r"a cache at 256 pixels needs about 0\.0051 GB; .+ GB are free", lines[1])  # 60 x 256^2 x 1.3
    assert {path: path.read_bytes() for path in cohort.rglob("*") if path.is_file()} == before
    content = json.loads((tmp_path / "report.json").read_text())
    assert (content["schema"], content["kind"], content["findings"]) == (2, "cases", [])
    assert content["summary"]["errors"] == 0 and content["summary"]["slices"] == 60
    for name, facts in content["cases"].items():
        image, labels = (nib.load(cohort / name / file) for file in (IMAGE, LABELS))
        hu, marked = np.asarray(image.dataobj), np.asarray(labels.dataobj)
        voxel_ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
        assert facts["shape_zyx"] == list(hu.shape) and facts["orientation"] == "IPL"
        assert np.allclose(facts["spacing_mm"], image.header.get_zooms(), rtol=1e-5)
        assert (facts["hu"]["min"], facts["hu"]["max"]) == (hu.min(), hu.max())
        assert facts["kidney_ml"] == pytest.approx((marked > 0).sum() * voxel_ml, rel=1e-4)
        assert facts["tumor_ml"] == pytest.approx((marked == 2).sum() * voxel_ml, rel=1e-4, abs=1e-3)
        assert facts["label_voxels"] == {str(label): (marked == label).sum() for label in range(4)}


def test_several_processes_find_the_same(data: Path) -> None:
    (data / "case_00001" / IMAGE).write_bytes(b"")
    assert check_folder(data, jobs=2).as_json()["findings"] == check_folder(data).as_json()["findings"]


def test_bad_usage_ends_with_2(tmp_path: Path, cohort: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ([str(tmp_path / "absent")], "no such folder"),
        ([str(tmp_path / "empty")], "found no case"),
        ([str(cohort), "--size", "100"], "multiple of 16"),
        ([str(cohort), "--jobs", "0"], "jobs 0"),
        ([str(cohort), "--images", "all.nii"], "{case}"),
        ([str(cohort), "--labels", "{case}/x.nii"], "without --images"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1 and words in error[0]


def test_patterns_reach_the_cases(cohort: Path) -> None:
    assert codes(cohort, "{case}/imaging.nii.gz", "{case}/segmentation.nii.gz") == {}
    assert codes(cohort, "{case}/imaging.nii.gz") == {"unlabelled": 1}
    mixed = codes(cohort, "{case}/segmentation.nii.gz", "{case}/imaging.nii.gz")
    assert mixed["label_values"] == 3


def test_a_folder_without_labels_gives_one_finding(data: Path) -> None:
    (data / "case_00000" / LABELS).unlink()
    assert codes(data) == {"no_labels": 1}
    for name in ("case_00001", "case_00002"):
        (data / name / LABELS).unlink()
    assert codes(data) == {"unlabelled": 1}
    assert check_folder(data).exit_code == 0


def test_the_test_set_of_kits19_is_known_to_have_no_labels(data: Path) -> None:
    (data / "case_00002").rename(data / "case_00210")
    (data / "case_00210" / LABELS).unlink()
    assert codes(data) == {"unlabelled": 1}


def test_a_single_slice_among_scans_is_named_a_folder_of_them_once(data: Path) -> None:
    for name in ("case_00000", "case_00001", "case_00002"):
        if name == "case_00002":
            assert codes(data)["few_slices"] == 2
        for file in (IMAGE, LABELS):
            image = nib.load(data / name / file)
            save(data / name / file, np.asarray(image.dataobj)[10:11], image.affine)
    assert codes(data) == {"single_slices": 1}


def test_labels_without_images_are_checked_too(data: Path) -> None:
    (data / "case_00001" / IMAGE).unlink()
    labels = data / "case_00001" / LABELS
    save(labels, np.asarray(nib.load(labels).dataobj) * 3, nib.load(labels).affine)
    assert codes(data) == {"missing_image": 1, "label_values": 1}
    for name in ("case_00000", "case_00002"):
        (data / name / IMAGE).unlink()
    report = check_folder(data)
    assert Counter(one.code for one in report.findings) == {"missing_image": 3, "label_values": 1}
    assert report.facts.keys() == {"case_00000", "case_00002"}


def test_the_poor_label_of_kits19_is_a_note(data: Path) -> None:
    (data / "case_00001").rename(data / "case_00023")
    assert codes(data) == {}
    z, y, x = (float(mm) for mm in nib.load(data / "case_00023" / IMAGE).header.get_zooms())
    record = {"case_id": "case_00023", "voxel_spacing": {"x_spacing": x, "y_spacing": y, "z_spacing": z}}
    (data / "kits.json").write_text(json.dumps([record]))
    assert codes(data) == {"poor_label": 1}
    (data / "case_00023" / "instances").mkdir()  # KiTS23
    assert codes(data) == {}


def test_the_same_image_is_known_in_another_file_and_axis_order(data: Path) -> None:
    image = nib.load(data / "case_00000" / IMAGE)
    other = image.as_reoriented(nib.io_orientation(image.affine))  # voxels in another order, same place
    for file in (data / "case_00001").iterdir():
        file.unlink()
    nib.save(other, data / "case_00001" / "imaging.nii")
    report = check_folder(data)
    assert {one.case for one in report.findings if one.code == "same_image"} == {"case_00000", "case_00001"}


def test_a_defect_of_ours_becomes_a_finding_and_says_nothing_of_the_data(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = check_case.read_volume

    def failing(path: Path) -> object:
        if "case_00001" in str(path):
            raise ZeroDivisionError("DOE^JANE")
        return read(path)

    monkeypatch.setattr(check_case, "read_volume", failing)
    (one,) = check_folder(data).findings
    assert (one.case, one.code, one.what) == ("case_00001", "unexpected", "the check ended with ZeroDivisionError")


@pytest.mark.parametrize(
    ("given", "code"),
    [("missing_slices", "missing_slices"), ("damaged", "damaged"), ("no_dicom", "unreadable"), ("input", "unreadable")],
)
def test_a_reader_s_code_is_the_finding_s(data: Path, monkeypatch: pytest.MonkeyPatch, given: str, code: str) -> None:
    read = check_case.read_volume

    def refusing(path: Path) -> object:
        if "case_00001" in str(path):
            raise InputError("3 slices are missing", path=path, code=given)
        return read(path)

    monkeypatch.setattr(check_case, "read_volume", refusing)
    (one,) = check_folder(data).findings
    assert (one.case, one.code, one.what) == ("case_00001", code, f"{IMAGE}: 3 slices are missing")


def dying(task: Task) -> CaseReport:
    """Stand in for a check whose process is killed, for want of memory, at one case."""
    if task.case == "case_00001":
        os._exit(9)
    return CaseReport(task.case, {}, ())


def test_a_worker_that_dies_costs_its_own_case_alone(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "check_case", dying)
    report = check_folder(cohort, jobs=2)
    assert [(one.case, one.code) for one in report.findings] == [("case_00001", "worker_died")]
    assert len(report.names) == 3


def test_a_full_disk_is_foreseen(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def usage(path: Path) -> tuple:
        asked.append(Path(path))
        return namedtuple("usage", "total used free")(10**9, 10**9, 5 * 10**6)

    monkeypatch.setattr(check.shutil, "disk_usage", usage)
    report = check_folder(cohort, cache=tmp_path / "not" / "there")
    assert [one.code for one in report.findings] == ["disk_space"]  # 60 slices of 256 x 256 pixels, 1.3 bytes: 5.1 MB
    assert asked == [tmp_path.resolve()]
    assert check_folder(cohort, size=128).findings == ()


EVIL = (
    "case_00001_<script>alert(1)</script>",
    "case_00002\n2 cases without problems",
    "case_00003_\x1b[31m",
    "case_00004_&lt;",
)


def test_names_cannot_inject_into_table_or_json(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in EVIL:
        (data / name.replace("/", "")).mkdir()
        (data / name.replace("/", "") / "imaging.nii.gz").write_bytes(b"")
    (data / "case_00000" / "imaging_<b>\x1b[31m\n.img").write_bytes(b"")
    (data / "case_00000" / IMAGE).unlink()  # the report then says what else is there
    (data / "kits.json").write_text('[{"case_id": "<b>\\u001b"}')
    assert main([str(data), "--json", str(tmp_path / "report.json")]) == 1
    out = capsys.readouterr().out
    assert out.count("is refused") == 4 and "\\x3cscript\\x3e" in out and "imaging_\\x3cb\\x3e\\x1b" in out
    assert out.isascii() and out.replace("\n", "").isprintable() and not set("<>&") & set(out)
    assert not any(line.startswith("2 cases") for line in out.splitlines())
    texts = [text for one in json.loads((tmp_path / "report.json").read_text())["findings"] for text in one.values()]
    assert all(text.isascii() and not set("<>&") & set(text) and "\n" not in text for text in texts)


def test_many_cases_of_one_finding_are_counted_not_listed(data: Path) -> None:
    for number in range(10, 20):
        (data / f"case_000{number}").mkdir()
    lines = str(check_folder(data)).splitlines()
    assert lines[0].startswith("error    missing_image (10): ")
    assert len(lines) == 8 and lines[6] == "  and 5 more; --json FILE lists all"
    assert lines[7].endswith("3 of 13 cases without problems; 10 errors, 0 warnings, 0 notes")


def test_the_table_of_codes_is_the_documentation() -> None:
    """Every code stands in docs/howto/data_check.md with its severity, and is given somewhere in the package."""
    root = Path(__file__).resolve().parents[3]
    rows = re.findall(r"^- `(\w+)` \((\w+)\): ", (root / "docs" / "howto" / "data_check.md").read_text(), re.MULTILINE)
    assert Counter(rows) == Counter((code, kind.severity) for code, kind in KINDS.items())
    source = "".join(
        path.read_text() for path in Path(data_prep.__file__).parent.rglob("*.py") if path.name != "findings.py"
    )
    source += (Path(data_prep.__file__).parent / "check" / "findings.py").read_text().partition("\n}\n")[2]
    assert [code for code in KINDS if f'"{code}"' not in source] == []
    assert {kind.severity for kind in KINDS.values()} == set(SEVERITIES)
    with pytest.raises(KeyError):
        finding("case_00000", "no such code", "")


@pytest.mark.slow
def test_real_slices_are_named_as_what_they_are(shared_data: Path) -> None:
    """They went through 8 bits: clipped to 0..255 HU, or to about -79..304."""
    report = check_folder(shared_data / "kits_real_slices")
    found = Counter(one.code for one in report.findings)
    assert found == {"gray_values": 57, "no_air": 154, "odd_matrix": 3, "single_slices": 1, "small_loss": 10}
    assert "case_00160_s0098" in {one.case for one in report.findings if one.code == "odd_matrix"}


def test_a_real_scan_is_sound(shared_data: Path) -> None:
    report = check_folder(shared_data / "real_ct")
    assert {one.code for one in report.findings} == {"odd_matrix", "no_tumor"}
    assert report.exit_code == 0


def test_the_folder_above_the_cases_is_refused(cohort: Path) -> None:
    with pytest.raises(InputError, match="found no case"):
        check_folder(cohort / "..")
