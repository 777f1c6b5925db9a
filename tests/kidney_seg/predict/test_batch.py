"""A tree of studies in one command: which labels, which failures, what a second run does, the table and the page."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.dicom_files import IDENTIFIERS, write_study, zipped
from support.threshold_model import striped_hu, write_threshold_model

from data_prep.volume import read_labels
from kidney_seg.predict import engines
from kidney_seg.predict.__main__ import main
from kidney_seg.report.__main__ import main as report

pytestmark = pytest.mark.network

DONE = ["ST01", "backup_p3", "deep_down_study", "disk_ST02", "p1", "p2", "p4"]  # and one without a name


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_threshold_model(tmp_path_factory.mktemp("model") / "best.keras")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Ten studies, of which one is MR, one damaged, one there twice, one zipped twice and one in a patient's folder."""
    root = tmp_path_factory.mktemp("pacs") / "tree"
    hu = striped_hu(6)
    for number in range(1, 5):
        write_study(root / f"p{number}", hu, number)
    write_study(root / "deep" / "down" / "study", hu, 5)
    write_study(root / "disk" / "DICOM" / "ST02", hu, 6)
    (root / "disk" / "DICOMDIR").write_bytes(b"no directory that is read")
    inner = zipped(write_study(root.parent / "zip" / "DOE_JANE", hu, 7), root.parent / "outer" / "inner.zip")
    zipped(inner.parent, root / "DICOM" / "ST01.zip")
    write_study(root / "JANE DOE 19610203" / "MRN-0008", hu, 8)
    write_study(root / "mr", hu, 9, modality="MR")
    damaged = write_study(root / "damaged", hu, 10)
    for path in (damaged / "SE3").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    shutil.copytree(root / "p3", root / "backup" / "p3")
    (root / "notes.txt").write_text("no scan")
    return root


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()
    }


def errors(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]


@pytest.fixture(scope="module")
def command(model, tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "out"
    return [str(model), str(tree), "--out", str(out)], out


def test_a_tree_of_ten_studies_is_stopped_and_resumed(command, monkeypatch, capsys):
    words, out = command
    segmented = []
    segment = engines.Job.segment

    def stopping(job, volume, *arguments):
        segmented.append(len(volume.voxels))
        if len(segmented) == 4:
            raise KeyboardInterrupt
        return segment(job, volume, *arguments)

    monkeypatch.setattr(engines.Job, "segment", stopping)
    assert main(words) == 130
    first = {path.name for path in out.glob("*.nii.gz")}
    assert len(first) == 3 and len(list(csv.DictReader((out / "summary.csv").open()))) >= 3
    capsys.readouterr()
    assert main(words) == 2
    assert segmented == [6] * (8 + 1)  # the thin series of each; the one that was stopped, again
    said = capsys.readouterr()
    assert "8 label volumes" in said.out.splitlines()[-1] and "2 failed" in said.out.splitlines()[-1]
    failures = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(failures) == 2
    assert failures[0].startswith("error: damaged: ") and "pixels of" in failures[0]
    assert failures[1].startswith("error: mr: ") and "found MR" in failures[1]
    assert "read series 3" in said.err and "portal" not in said.err and "venous" in said.err
    names = sorted(path.name.removesuffix(".nii.gz") for path in out.glob("*.nii.gz"))
    assert names[:-1] == DONE and names[-1].startswith("study-") and len(names[-1]) == len("study-") + 8
    for name in names:
        notes = json.loads((out / f"{name}.json").read_text())["notes"]
        assert len([note for note in notes if note.startswith("2 CT series found: read series 3")]) == 1, name
        labels = read_labels(out / f"{name}.nii.gz")
        assert labels.voxels.shape == (6, 32, 32)
        np.testing.assert_allclose(labels.source.spacing, (0.7, 0.8, 2.5), rtol=1e-6)


def test_a_second_run_changes_nothing_and_force_computes_again(command, monkeypatch, capsys):
    words, out = command
    before = content(out)
    with monkeypatch.context() as patched:
        patched.setattr(engines.Job, "segment", lambda *arguments: pytest.fail("predicted again"))
        assert main(words) == 2
    after = content(out)
    failures = {name for name in after if name.startswith("failed")}  # these were tried again
    assert after.keys() == before.keys()
    assert {name: after[name] for name in after if name not in failures} == {
        name: before[name] for name in before if name not in failures
    }
    assert len(errors(capsys)) == 2
    assert main([*words, "--force"]) == 2
    assert (out / "p1.nii.gz").stat().st_mtime_ns > before["p1.nii.gz"][1]


def test_the_table_has_a_row_per_scan_and_no_patient(command, capsys):
    _, out = command
    rows = {row["scan"]: row for row in csv.DictReader((out / "summary.csv").open())}
    assert len(rows) == 10 and [rows[name]["status"] for name in ("damaged", "mr", "p1")] == [
        "failed",
        "failed",
        "done",
    ]
    assert "found MR" in rows["mr"]["error"] and rows["mr"]["kidney_ml"] == ""
    record = json.loads((out / "p1.json").read_text())
    row = rows["p1"]
    assert float(row["kidney_ml"]) == record["volumes_ml"]["kidney"] > 0
    assert int(row["tumors"]) == len(record["tumors"]) >= 1
    assert float(row["tumor_1_mm"]) == record["tumors"][0]["diameter_mm"]
    assert row["tumor_1_side"] == record["tumors"][0]["side"] and float(row["tumor_confidence"]) > 0.5
    assert row["flags"].split() == list(dict.fromkeys(flag["flag"] for flag in record["flags"]))
    assert float(row["seconds"]) >= 0
    for path in out.rglob("*"):
        assert not [word for word in (*IDENTIFIERS, "MRN") if word in str(path.relative_to(out))]
        if path.suffix in (".csv", ".html", ".json"):
            assert not [word for word in (*IDENTIFIERS, "MRN", "native") if word in path.read_text()], path


def test_report_makes_both_again_from_the_records(command, capsys):
    _, out = command
    before = {name: (out / name).read_bytes() for name in ("summary.csv", "overview.html")}
    for name in before:
        (out / name).unlink()
    assert report([str(out)]) == 0
    assert {name: (out / name).read_bytes() for name in before} == before
    assert capsys.readouterr().out.splitlines() == [str(out / "summary.csv"), str(out / "overview.html")]
    assert report([str(out), "--out", str(out / "x.html")]) == 2
    (out / "summary.csv").write_text("mine")
    assert report([str(out)]) == 2 and (out / "summary.csv").read_text() == "mine"
    (out / "summary.csv").write_bytes(before["summary.csv"])
    capsys.readouterr()


def test_a_picture_that_is_lost_is_drawn_again_without_the_network(command, monkeypatch):
    words, out = command
    picture = out / "pictures" / "p2.jpg"
    before = picture.read_bytes()
    picture.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(engines.Job, "segment", lambda *arguments: pytest.fail("predicted again"))
        assert main(words) == 2
    assert picture.read_bytes() == before


def test_one_study_and_one_file(model, tree, tmp_path, capsys):
    out = tmp_path / "x.nii.gz"
    assert main([str(model), str(tree), "--out", str(out)]) == 2
    (line,) = errors(capsys)
    assert "is one file, found 10 scans" in line and "give a folder, such as --out" in line
    assert main([str(model), str(tree / "p1"), "--out", str(out)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.nii.gz"]
    assert main([str(model), str(tree / "DICOM" / "ST01.zip"), "--out", str(tmp_path / "z.nii.gz")]) == 0
    np.testing.assert_array_equal(read_labels(tmp_path / "z.nii.gz").voxels, read_labels(out).voxels)
    assert main([str(model), str(tree / "p1"), "--out", str(tmp_path / "folder")]) == 0
    assert (tmp_path / "folder" / "p1.nii.gz").exists() and (tmp_path / "folder" / "overview.html").exists()


@pytest.mark.slow
def test_two_processes_make_what_one_makes(model, tree, tmp_path, capsys):
    for jobs in ("1", "2"):
        words = [str(model), str(tree / "p1"), str(tree / "DICOM"), "--out", str(tmp_path / jobs), "--jobs", jobs]
        assert main([*words, "--engine", "onnx", "--dicom-seg"]) == 0
        for name in ("p1", "ST01"):  # of a folder, of a zip file
            labels, seg = (read_labels(tmp_path / jobs / f"{name}{end}").voxels for end in (".nii.gz", ".dcm"))
            np.testing.assert_array_equal(labels, seg)
    for name in ("p1.nii.gz", "ST01.nii.gz", "pictures/p1.jpg"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
