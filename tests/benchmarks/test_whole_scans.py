"""The judge of whole scans: measures by hand, scans in all layouts, and the command with a network that is known."""

from __future__ import annotations

import csv
import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.dicom_files import save_slices, slices_of
from support.helpers import save
from support.threshold_model import write_threshold_model

from benchmarks.whole_scans.__main__ import main
from benchmarks.whole_scans.measures import false_tumors, filled_kidneys, kidney_levels, measure
from benchmarks.whole_scans.results import format_table, summarize
from benchmarks.whole_scans.scans import find_whole_scans, unpacked
from data_prep.errors import InputError
from data_prep.volume import read_volume
from kidney_seg.metrics.overlap import dice

MM = (5.0, 4.0, 4.0)  # a voxel is .08 mL
AFFINE = np.diag([-4.0, -4.0, 5.0, 1.0])  # as stored [x, y, z]; LPS axial order


def kidneys(shape: tuple[int, int, int] = (24, 32, 32)) -> np.ndarray:
    """Two kidneys of 32 mL in slices 8 to 15."""
    labels = np.zeros(shape, np.uint8)
    labels[8:16, 12:22, 4:9] = labels[8:16, 12:22, 23:28] = 1
    return labels


def test_false_tumors_by_height() -> None:
    truth, predicted = kidneys(), kidneys()
    predicted[18:20, 4:9, 4:9] = 2  # above: 50 voxels
    predicted[14:18, 12:14, 14:16] = 2  # 8 voxels at the kidneys, 8 above, center at 15.5: above
    predicted[2:4, 2, 2] = 2  # below: 2 voxels
    predicted[10:12, 12:14, 4:6] = 2  # in a kidney: 8 voxels
    assert kidney_levels(truth, MM) == (8, 15)
    found = false_tumors(truth, predicted, MM, (8, 15))
    ml = {height: found[f"false_tumor_{height}_ml"] for height in ("above", "at", "below", "unknown")}
    assert ml == pytest.approx({"above": 58 * 0.08, "at": 16 * 0.08, "below": 0.16, "unknown": 0})
    assert [found[f"false_tumors_{height}"] for height in ("above", "at", "below")] == [2, 1, 1]
    assert found["false_tumor_ml"] == pytest.approx(76 * 0.08) and found["false_tumors"] == 4
    # an object that touches a true tumor by a voxel is not false, and specks have no number
    truth[11, 13, 5] = 2
    predicted[2, 2, 2] = 0
    found = false_tumors(truth, predicted, (2.5, 4.0, 4.0), (8, 15))  # .04 mL
    assert found["false_tumor_at_ml"] == pytest.approx(8 * 0.04) and found["false_tumor_below_ml"] == pytest.approx(
        0.04
    )
    assert found["false_tumors_at"] == 0 and found["false_tumors_below"] == 0


def test_levels_from_truth_or_prediction_or_nowhere() -> None:
    empty, tumor = np.zeros_like(kidneys()), kidneys()
    tumor[18:24, 2:12, 2:12] = 2  # an organ called tumor, larger than a kidney, is not at a kidney's level
    assert kidney_levels(tumor, MM) == (8, 15) and kidney_levels(empty, MM) is None
    shifted = np.roll(kidneys(), 4, axis=0)
    row = measure(kidneys(), shifted, MM)
    assert (row["levels_from"], row["lowest_kidney_slice"], row["highest_kidney_slice"]) == ("truth", 8, 15)
    row = measure(None, tumor, MM, before=np.maximum(tumor, np.roll(tumor, 3, axis=2)))
    assert (row["levels_from"], row["false_tumor_above_ml"]) == ("prediction", pytest.approx(48.0))
    assert row["kind"] == "healthy" and "tumor_dice" not in row
    assert row["removed_ml"] > row["removed_tumor_ml"] > 0
    row = measure(None, np.where(tumor == 2, tumor, 0), MM)
    assert (row["levels_from"], row["false_tumor_unknown_ml"]) == ("", pytest.approx(48.0))
    assert math.isnan(row["lowest_kidney_slice"]) and math.isnan(row["removed_ml"])


def test_scores_with_truth() -> None:
    truth = kidneys()
    truth[10:12, 14:16, 5:7] = 2
    row = measure(truth, truth, MM)
    assert row["kind"] == "tumor" and (row["tumors"], row["tumors_found"]) == (1, 1)
    assert row["kidney_dice"] == row["tumor_dice"] == row["kidney_dice_filled"] == 1 and row["kidney_hd95_mm"] == 0
    assert row["false_tumor_ml"] == row["false_tumors"] == 0
    row = measure(kidneys(), truth, MM)
    assert row["kind"] == "healthy" and row["false_tumor_at_ml"] == pytest.approx(8 * 0.08)


@pytest.mark.parametrize(("opening_mm", "is_closed"), [(6, True), (14, True), (26, False)])
def test_renal_sinus_is_filled(opening_mm: int, is_closed: bool) -> None:
    """A ring of kidney, 30 mm wide in the light, with an opening at its right; and a hole without any."""
    labels = np.zeros((3, 80, 120), np.uint8)
    labels[1, 10:60, 10:60] = 1
    labels[1, 20:50, 20:50] = 0  # the sinus
    first = 35 - opening_mm // 2
    labels[1, first : first + opening_mm, 50:60] = 0  # opening of the ring, 10 mm long
    whole = np.zeros_like(labels, dtype=bool)
    whole[1, 10:60, 10:60] = True
    filled = filled_kidneys(labels, (3.0, 1.0, 1.0))
    assert not filled[[0, 2]].any() and (filled | (labels > 0) == filled).all()
    assert (dice(filled, whole) > 0.99) == is_closed
    assert filled[1, 35, 35] == is_closed
    assert not (filled & ~whole).any()
    # wider pixels: the same in millimeters
    assert filled_kidneys(labels[:, ::2, ::2], (3.0, 2.0, 2.0))[1, 17, 17] == is_closed


def test_kidneys_do_not_grow_together_and_edges_do_not_matter() -> None:
    labels = np.zeros((1, 30, 60), np.uint8)
    labels[0, 0:30, 0:10] = labels[0, 0:30, 14:24] = 1  # 4 mm apart, at the edge of the image
    np.testing.assert_array_equal(filled_kidneys(labels, (5.0, 1.0, 1.0)), labels > 0)
    np.testing.assert_array_equal(filled_kidneys(labels * 0, (5.0, 1.0, 1.0)), labels * 0 > 0)


def case(folder: Path, hu: np.ndarray, labels: np.ndarray | None) -> None:
    """Write a case folder; arrays [z, y, x]."""
    folder.mkdir(parents=True)
    save(folder / "imaging.nii.gz", hu.transpose(2, 1, 0), AFFINE)
    if labels is not None:
        save(folder / "segmentation.nii.gz", labels.transpose(2, 1, 0), AFFINE)


def hu_of(labels: np.ndarray) -> np.ndarray:
    """HU that the threshold model gives these labels."""
    return np.choose(labels, (-100, 100, 200)).astype(np.int16)


def test_scans_in_all_layouts(tmp_path: Path) -> None:
    case(tmp_path / "kits" / "case_00001", hu_of(kidneys()), kidneys())
    case(tmp_path / "kits" / "case_00000", hu_of(kidneys()), None)
    one, other = find_whole_scans(tmp_path / "kits")
    assert (one.name, one.labels) == ("case_00000", None) and other.labels is not None
    flat = tmp_path / "flat"
    flat.mkdir()
    save(flat / "a.nii.gz", hu_of(kidneys()).transpose(2, 1, 0), AFFINE)
    series = save_slices(tmp_path / "flat" / "b", slices_of(hu_of(kidneys())))
    with zipfile.ZipFile(flat / "c.zip", "w") as archive:
        for path in series.iterdir():
            archive.write(path, f"scan/{path.name}")
    (flat / "notes").mkdir()
    (flat / "notes" / "read.txt").write_text("nothing")
    (tmp_path / "truth").mkdir()
    save(tmp_path / "truth" / "c.nii.gz", kidneys(), AFFINE)
    scans = find_whole_scans(flat, truth=tmp_path / "truth")
    assert [(scan.name, scan.labels is not None) for scan in scans] == [("a", False), ("b", False), ("c", True)]
    for scan in scans:
        with unpacked(scan.image) as image:
            assert read_volume(image).voxels.shape == (24, 32, 32)
    assert not image.exists()  # the unpacked folder is gone
    assert [scan.name for scan in find_whole_scans(series)] == ["b"] and find_whole_scans(flat / "c.zip")[0].name == "c"

    for content in (b"no zip", (flat / "c.zip").read_bytes()[:-100]):
        (flat / "c.zip").write_bytes(content)
        with pytest.raises(InputError, match=r"c\.zip: cannot be unzipped"), unpacked(flat / "c.zip"):
            pass
    with zipfile.ZipFile(flat / "c.zip", "w") as archive:
        archive.writestr("text.txt", "no DICOM")
    with pytest.raises(InputError, match=r"c\.zip: ") as caught, unpacked(flat / "c.zip") as image:
        read_volume(image)
    assert "whole-scan-" not in str(caught.value)
    save(flat / "c.nii", hu_of(kidneys()), AFFINE)
    with pytest.raises(InputError, match="2 scans have the name c"):
        find_whole_scans(flat)
    for wrong in (tmp_path / "absent", flat / "notes"):
        with pytest.raises(InputError):
            find_whole_scans(wrong)


@pytest.mark.network
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A patient, a healthy person whose liver is called tumor, and a scan without labels."""
    model = write_threshold_model(tmp_path / "model.keras", "size=32", "kidney_ml=10")
    patient, liver = kidneys(), kidneys()
    patient[10:13, 12:16, 2:6] = 2
    liver[19:24, 2:22, 2:22] = 2  # 160 mL, from 20 mm above the kidneys: larger than both
    case(tmp_path / "scans" / "case_00000", hu_of(patient), patient)
    case(tmp_path / "scans" / "case_00001", hu_of(liver), kidneys())
    case(tmp_path / "scans" / "case_00002", hu_of(liver), None)
    out = tmp_path / "out"
    command = [str(tmp_path / "scans"), "--model", str(model), "--out", str(out)]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "left out, without labels and --healthy: case_00002" in said.err
    assert "1 of 1 healthy scans with more than 1 mL of false tumor" in said.out
    with open(out / "scans.csv", newline="") as file:
        rows = {row["scan"]: row for row in csv.DictReader(file)}
    assert (rows["case_00000"]["kind"], rows["case_00001"]["kind"]) == ("tumor", "healthy")
    assert float(rows["case_00000"]["tumor_dice"]) == 1 and rows["case_00001"]["tumors"] == "0"
    assert float(rows["case_00001"]["false_tumor_above_ml"]) == pytest.approx(160, rel=0.1)
    report = json.loads((out / "scans.json").read_text())
    assert report["summary"]["healthy"]["false_alarms"] == 1 and report["left_out"] == ["case_00002"]
    assert report["scans"][1]["false_tumor_unknown_ml"] == 0 and report["scans"][1]["tumor_dice"] == 0
    assert report["made_by"]["settings"]["kidney_ml"] == 10
    assert {path.name for path in out.iterdir()} == {"scans.csv", "scans.json", "case_00000.png", "case_00001.png"}

    before = (out / "scans.json").read_bytes()
    assert main(command) == 2 and "exists; choose another --out" in capsys.readouterr().err
    assert (out / "scans.json").read_bytes() == before
    mine = (out / "case_00001.png").read_bytes()
    (out / "case_00001.png").write_bytes(b"a picture of mine")
    assert main([*command, "--force"]) == 2 and "nothing that this command writes" in capsys.readouterr().err
    assert (out / "case_00001.png").read_bytes() == b"a picture of mine"
    (out / "case_00001.png").write_bytes(mine)
    save(tmp_path / "scans" / "case_00000" / "imaging.nii.gz", hu_of(patient)[:-1].transpose(2, 1, 0), AFFINE)
    assert main([*command, "--force", "--healthy", "--set", "prediction.rule=anchored"]) == 2
    said = capsys.readouterr()
    (error,) = [line for line in said.err.splitlines() if line.startswith("error: ")]  # 23 slices, labels of 24
    assert error.startswith("error: case_00000: ") and "; expected " in error
    assert "0 of 2 healthy scans with more than 1 mL of false tumor" in said.out
    report = json.loads((out / "scans.json").read_text())
    assert [(row["false_tumors"], row["levels_from"]) for row in report["scans"]] == [(0, "truth"), (0, "prediction")]
    assert report["scans"][1]["removed_tumor_ml"] == pytest.approx(160, rel=0.1) and len(report["failed"]) == 1


def test_bad_input_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    case(tmp_path / "scans" / "case_00000", hu_of(kidneys()), None)
    command = [str(tmp_path / "scans"), "--model", str(tmp_path / "absent.keras")]
    for more, words in (
        ([], "none of 1 scans has labels; give --truth, or --healthy"),
        (["--healthy"], "absent.keras: no such model"),
        (["--healthy", "--set", "steps=3"], "--set: found 'steps'"),
        (["--labels", "x"], "--labels 'x' was given without --images"),
    ):
        assert main([*command, *more]) == 2
        error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(error) == 1 and words in error[0], error


def test_a_table_of_scans_without_truth() -> None:
    rows = [{"scan": "a", **measure(None, kidneys(), MM)}]
    text = format_table(rows, summarize(rows))
    assert text.splitlines()[1].split() == ["a", *"-" * 6, "0.00", "0.00", "0.00", "0.00", "0"]
    assert "mean with tumor" not in text
