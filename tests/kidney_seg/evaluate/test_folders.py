"""Folders of predictions against folders of truths: the pairing, the figures, the files, the messages."""

from __future__ import annotations

import csv
import json
import math
import os
import signal

import numpy as np
import pytest
from support.scored import MM, labels, write

from data_prep.datasets.label_files import find_label_files
from data_prep.errors import InputError
from data_prep.split.sets import patients_of
from kidney_seg.evaluate import folders as module
from kidney_seg.evaluate.__main__ import main
from kidney_seg.evaluate.case_scores import COLUMNS, score_pair
from kidney_seg.evaluate.folders import evaluate_folders, score_folders
from kidney_seg.evaluate.score_files import write_scores
from kidney_seg.evaluate.summary import summarize
from kidney_seg.evaluate.tables import format_table1


@pytest.fixture
def folders(tmp_path):
    """Three patients: one scored .8 and 2/3, one perfect without tumor, one not predicted."""
    truth, predictions = tmp_path / "truth", tmp_path / "predictions"
    write(truth / "case_00001" / "segmentation.nii.gz", labels(60, 40))
    write(truth / "case_00002" / "segmentation.nii.gz", labels(80))
    write(truth / "case_00003_s0007" / "segmentation.nii.gz", labels(50, 50))
    shifted = labels(60, 40)
    shifted.flat[:20] = 0  # 20 of 60 kidney voxels missed
    shifted.flat[80:100] = 1  # 20 of 40 tumor voxels called kidney
    shifted.flat[100:120] = 1  # 20 voxels of the background called kidney
    write(predictions / "case_00001.nii.gz", shifted)
    write(predictions / "prediction_00002.nii.gz", labels(80))
    return predictions, truth


def test_score_pair_by_hand():
    truth, predicted = labels(60, 40), labels(50, 30)
    found = score_pair(truth, predicted, MM)
    expected = {
        "kidney_dice": 2 * 80 / 180,
        "tumor_dice": 2 * 20 / 70,
        "kidney_ml": pytest.approx(0.1),
        "tumor_ml": pytest.approx(0.04),
        "predicted_kidney_ml": pytest.approx(0.08),
        "predicted_tumor_ml": pytest.approx(0.03),
    }
    assert {key: found[key] for key in expected} == expected


def test_score_pair_counts_cysts_as_kidney_on_both_sides():
    truth, predicted = labels(60), labels(60)
    truth.flat[:10] = 3
    predicted.flat[50:60] = 3
    found = score_pair(truth, predicted, MM)
    assert found["kidney_dice"] == 1.0
    assert math.isnan(found["tumor_dice"])
    assert found["tumor_ml"] == found["predicted_tumor_ml"] == 0.0


def test_folders_by_hand(folders):
    result = score_folders(*folders)
    assert [row["case"] for row in result.rows] == ["case_00001", "case_00002", "case_00003_s0007"]
    assert [row["patient"] for row in result.rows] == ["case_00001", "case_00002", "case_00003"]
    first, second, third = result.rows
    assert first["kidney_dice"] == 2 * 80 / (100 + 100)
    assert first["tumor_dice"] == 2 * 20 / (40 + 20)
    assert second["kidney_dice"] == 1.0
    assert math.isnan(second["tumor_dice"])
    assert (third["kidney_dice"], third["tumor_dice"], third["predicted_kidney_ml"]) == (0.0, 0.0, 0.0)
    assert result.missing == ["case_00003_s0007"]
    assert result.extra == result.unreadable == []
    summary = summarize(result.rows)["all"]
    assert summary["kidney"]["mean"] == pytest.approx(1.8 / 3)
    expected = {"mean": pytest.approx(1 / 3), "median": pytest.approx(1 / 3), "n": 2, "left_out": 1}
    assert {key: summary["tumor"][key] for key in expected} == expected


def test_files_and_screen(folders, tmp_path, capsys):
    predictions, truth = folders
    out = tmp_path / "scores"
    assert main([str(predictions), str(truth), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "Kidney     0.600   [0.000, 1.000]   0.800  3" in said.out
    assert "Tumor      0.333   [0.000, 0.667]   0.333  2   (1 left out)" in said.out
    assert "Average    0.467" in said.out
    assert str(out / "cases.csv") in said.out
    assert "missing, counted as empty: case_00003_s0007" in said.err

    with open(out / "cases.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["tumor_dice"] for row in rows] == ["0.666667", "", "0.0"]
    content = json.loads((out / "scores.json").read_text(), parse_constant=pytest.fail)
    assert content["cases"][1]["tumor_dice"] is None
    assert content["cases"][0]["tumor_dice"] == 40 / 60
    assert content["missing"] == ["case_00003_s0007"]
    assert content["summary"]["all"]["average"]["mean"] == pytest.approx((0.6 + 1 / 3) / 2)


def test_default_folder_is_no_case_of_the_next_run(folders):
    predictions, truth = folders
    assert main([str(predictions), str(truth)]) == 0
    assert (predictions / "evaluation" / "cases.csv").is_file()
    before = (predictions / "evaluation" / "scores.json").read_bytes()
    assert main([str(predictions), str(truth)]) == 0
    assert (predictions / "evaluation" / "scores.json").read_bytes() == before


def test_other_scores_are_not_overwritten(folders, capsys):
    predictions, truth = folders
    evaluate_folders(predictions, truth)
    table = (predictions / "evaluation" / "cases.csv").read_bytes()
    write(predictions / "case_00003_s0007.nii.gz", labels(50, 50))
    assert main([str(predictions), str(truth)]) == 2
    said = capsys.readouterr()
    assert "Table 1" in said.out  # the minutes of scoring are not lost
    assert "--force" in said.err
    assert (predictions / "evaluation" / "cases.csv").read_bytes() == table
    assert main([str(predictions), str(truth), "--force"]) == 0
    assert (predictions / "evaluation" / "cases.csv").read_bytes() != table


def test_unreadable_prediction_counts_as_empty_and_ends_with_2(folders, capsys):
    predictions, truth = folders
    path = predictions / "case_00001.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert main([str(predictions), str(truth)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert str(path) in errors[0]
    content = json.loads((predictions / "evaluation" / "scores.json").read_text())
    assert content["cases"][0]["kidney_dice"] == 0.0
    assert content["cases"][1]["kidney_dice"] == 1.0
    assert len(content["unreadable"]) == 1


def test_extra_predictions_are_listed_and_left_out(folders, capsys):
    predictions, truth = folders
    write(predictions / "case_00009.nii.gz", labels(5))
    assert main([str(predictions), str(truth)]) == 0
    assert "left out, without a case to score: case_00009" in capsys.readouterr().err
    assert len(score_folders(predictions, truth).rows) == 3


def test_one_set_of_a_split(folders, tmp_path, capsys):
    predictions, truth = folders
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["case_00001"], "selection": ["case_00003"], "test": ["case_00002"]}))
    assert patients_of(split, "train") == ["case_00001"]
    arguments = [str(predictions), str(truth), "--split", str(split), "--out", str(tmp_path / "o")]
    assert main(arguments) == 0
    content = json.loads((tmp_path / "o" / "scores.json").read_text())
    assert [row["case"] for row in content["cases"]] == ["case_00002"]
    assert (content["missing"], content["extra"]) == ([], ["case_00001"])
    split.write_text(json.dumps({"test": ["case_00002", "case_00050"]}))
    assert main(arguments) == 2
    assert "case_00050" in capsys.readouterr().err
    split.write_text(json.dumps({"test": []}))
    assert main(arguments) == 2
    assert main([*arguments, "--part", "train"]) == 2


def test_postprocessed_scores(tmp_path, capsys):
    """Voxels of .01 mL: a kidney of 24 mL, found whole, and a false tumor 36 mm beyond its last voxel."""
    spacing, shape = (2.5, 2.0, 2.0), (20, 30, 60)
    truth = labels(shape=shape)
    truth[:, :, :4] = 1  # 2400 voxels
    truth[:2, :2, :2] = 2
    predicted = truth.copy()
    predicted[:20, :2, 21:23] = 2  # 80 voxels
    write(tmp_path / "t" / "a.nii.gz", truth, spacing=spacing)
    write(tmp_path / "p" / "a.nii.gz", predicted, spacing=spacing)
    row = score_folders(tmp_path / "p", tmp_path / "t", distance_mm=20.0).rows[0]
    assert row["kidney_dice"] == 2 * 2400 / (2400 + 2480)
    assert row["tumor_dice"] == 2 * 8 / (8 + 88)
    assert row["postprocessed_kidney_dice"] == row["postprocessed_tumor_dice"] == 1.0
    assert (row["predicted_kidney_ml"], row["postprocessed_predicted_kidney_ml"]) == pytest.approx((24.8, 24.0))
    assert score_folders(tmp_path / "p", tmp_path / "t", distance_mm=36.0).rows[0]["postprocessed_kidney_dice"] < 1

    assert main([str(tmp_path / "p"), str(tmp_path / "t"), "--postprocess"]) == 0
    said = capsys.readouterr().out
    assert ["Tumor", "0.167", "0.167", "1", "1.000", "1.000", "1"] in [line.split() for line in said.splitlines()]
    assert "farther than 20 mm" in said
    header = (tmp_path / "p" / "evaluation" / "cases.csv").read_text().splitlines()[0]
    assert "postprocessed_tumor_dice" in header
    assert main([str(tmp_path / "p"), str(tmp_path / "t"), "--postprocess", "--distance-mm", "nan"]) == 2


def die(task):
    if task.case == "case_00002":
        os.kill(os.getpid(), signal.SIGKILL)
    return module.Scored(row={})


def test_any_number_of_processes_gives_the_same(folders, tmp_path, capsys):
    predictions, truth = folders
    path = predictions / "case_00001.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    write(predictions / "case_00003_s0007.nii.gz", labels(50, 40))
    written = []
    for jobs in (1, 3):
        out = tmp_path / f"jobs{jobs}"
        assert main([str(predictions), str(truth), "--out", str(out), "--postprocess", "--jobs", str(jobs)]) == 2
        written.append([(out / name).read_bytes() for name in ("scores.json", "cases.csv")])
    assert written[0] == written[1]
    capsys.readouterr()
    assert main([str(predictions), str(truth), "--jobs", "0"]) == 2
    assert "jobs 0: expected 1 or more" in capsys.readouterr().err


def test_a_process_that_dies_is_named(folders, monkeypatch, capsys):
    monkeypatch.setattr(module, "score_task", die)
    assert main([*map(str, folders), "--jobs", "2"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert errors == [
        "error: case_00002: its process was killed by signal 9, most likely for lack of memory; "
        "run again with fewer --jobs"
    ]
    assert not (folders[0] / "evaluation").exists()


def test_an_unreadable_truth_in_a_process_is_one_line(folders, capsys):
    (folders[1] / "case_00002" / "segmentation.nii.gz").write_bytes(b"no")
    for jobs in ("1", "2"):
        assert main([*map(str, folders), "--jobs", jobs]) == 2
        error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        assert len(error) == 1 and "case_00002" in error[0]


def test_tumors_found_and_missed_on_the_screen_and_in_the_files(tmp_path, capsys):
    spacing = (2.5, 2.0, 2.0)  # .01 mL
    truth = labels(400, shape=(20, 30, 60))
    truth[10, 10, 10:30] = truth[15, 20, 10:40] = 2  # 38 mm, found; 58 mm, missed
    predicted = labels(400, shape=(20, 30, 60))
    predicted[10, 10, 12:30] = predicted[2, 25, 30:50] = 2
    for name in ("a", "b"):
        write(tmp_path / "t" / f"{name}.nii.gz", truth, spacing=spacing)
    write(tmp_path / "p" / "a.nii.gz", predicted, spacing=spacing)
    assert main([str(tmp_path / "p"), str(tmp_path / "t"), "--postprocess", "--kidney-ml", "1"]) == 0
    said = capsys.readouterr().out
    lines = {line[:12].strip(): line.split() for line in said.splitlines()}
    assert lines["20 to 40 mm"][4:8] == ["2", "1", "1", "0.500"]
    assert lines["all"][1:5] == ["4", "1", "3", "0.250"]
    assert "false tumors: 1, 0.500 [0.000, 1.000] per patient" in said
    assert "Tumor Dice 0 in 1 of 2 cases: b" in said
    content = json.loads((tmp_path / "p" / "evaluation" / "scores.json").read_text())
    assert [(one["case"], one["size_class"], one["found"]) for one in content["lesions"]] == [
        ("a", "40 to 70 mm", False),
        ("a", "20 to 40 mm", True),
        ("b", "40 to 70 mm", False),
        ("b", "20 to 40 mm", False),
    ]
    assert content["detection"]["sizes"][4]["found"] == 1
    assert content["zero_tumor_dice"] == ["b"]
    assert content["postprocessed_zero_tumor_dice"] == ["a", "b"]  # its tumors lie far from this "kidney"
    assert "lesions" not in content["cases"][0]
    assert set(content["cases"][0]) - {"case", "patient"} == set(content["summary"]["columns"])


def test_against_other_predictions(folders, tmp_path, capsys):
    """The same comparison from a folder, from scores.json and from the folder that holds it, by hand."""
    predictions, truth = folders
    other = tmp_path / "other"
    write(other / "case_00001.nii.gz", labels(60, 40))
    write(other / "case_00002.nii.gz", labels(40))
    evaluate_folders(other, truth)
    compared = []
    for against in (other, other / "evaluation", other / "evaluation" / "scores.json"):
        out = tmp_path / f"out{len(compared)}"
        assert main([str(predictions), str(truth), "--out", str(out), "--against", str(against)]) == 0
        compared.append(json.loads((out / "against.json").read_text())["figures"])
    assert compared[0] == compared[1] == compared[2]
    figures = {row["figure"]: row for row in compared[0]}
    kidney, tumor = figures["kidney_dice"], figures["tumor_dice"]
    # kidney: .8, 1 and 0 (missing) against 1, 2/3 and 0; tumor, in the two that have one: 2/3 and 0 against 1 and 0
    assert (kidney["patients"], tumor["patients"]) == (3, 2)
    assert (kidney["mean"], kidney["other_mean"]) == pytest.approx((0.6, 5 / 9))
    assert kidney["difference"] == pytest.approx(0.6 - 5 / 9)
    assert kidney["p"] == 1.0  # of -.2 and 1/3 with any signs all sums are as large
    assert tumor["difference"] == pytest.approx(-1 / 6)
    said = capsys.readouterr()
    assert "against.json" in said.out
    assert "--against: missing, counted as empty: case_00003_s0007" in said.err


def test_what_cannot_be_compared(folders, tmp_path, capsys):
    predictions, truth = folders
    bad = tmp_path / "bad.json"
    bad.write_text('{"cases": [{"case": "case_00001"}]}')
    other = tmp_path / "other" / "scores.json"
    write_scores(score_folders(predictions, truth).rows[:1], other.parent)
    changed = tmp_path / "changed.json"
    changed.write_text(other.read_text().replace('"kidney_ml": 0.1', '"kidney_ml": 0.2'))
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(other.read_text().replace("case_00001", "case_00009"))
    for against, words in (
        (tmp_path / "gone", "no such"),
        (bad, "no file of scores"),
        (changed, "same truth"),
        (elsewhere, "no case in common"),
    ):
        assert main([str(predictions), str(truth), "--force", "--against", str(against)]) == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        assert len(errors) == 1 and words in errors[0]


def test_the_axis_order_of_a_file_does_not_matter(tmp_path):
    """The same labels stored another way round lie on the same grid in space."""
    import nibabel as nib

    truth = write(tmp_path / "t" / "a.nii.gz", labels(2000, 500))
    image = nib.load(truth)
    for number, codes in enumerate(("LPS", "RAS", "SAR")):
        turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
        path = tmp_path / f"p{number}" / "a.nii.gz"
        path.parent.mkdir()
        nib.save(image.as_reoriented(turn), path)
        assert score_folders(path, truth).rows[0]["tumor_dice"] == 1.0


def test_dicom_segmentations_are_scored(tmp_path):
    """Written beside labels of another axis order, read back by the same reader as NIfTI."""
    dicom_seg = pytest.importorskip("data_prep.dicom.seg_writer")
    from support.dicom_files import random_hu, save_slices, slices_of

    from data_prep.volume import read_volume, write_labels

    def whole(data, _):
        data.FrameOfReferenceUID = "1.2.3"
        data.SeriesNumber = 1

    save_slices(tmp_path / "ct", slices_of(random_hu(8, 9, 7), change=whole))
    volume = read_volume(tmp_path / "ct")
    true = np.zeros(volume.voxels.shape, np.uint8)
    true[2:6, 2:6, 2:5] = 1
    true[3:5, 3:5, 3:5] = 2
    write_labels(true, volume.source, tmp_path / "t" / "a.nii.gz")
    (tmp_path / "p").mkdir()
    dicom_seg.write_dicom_seg(
        np.where(true == 2, 1, true), volume, tmp_path / "p" / "a.dcm",
        algorithm_name="kidney_seg", algorithm_version="1",
    )  # fmt: skip
    row = score_folders(tmp_path / "p", tmp_path / "t").rows[0]
    assert (row["case"], row["kidney_dice"], row["tumor_dice"]) == ("a", 1.0, 0.0)


def test_numbers_that_mean_something_else_are_not_scored_without_a_word(tmp_path, capsys):
    both = np.zeros((40, 80, 80), np.uint8)  # kidneys of 173 mL
    both[10:26, 40:60, 10:30], both[10:26, 40:60, 50:70] = 2, 3  # of TotalSegmentator: right and left kidney
    write(tmp_path / "found.nii.gz", both, spacing=(3.0, 3.0, 3.0))
    write(tmp_path / "truth.nii.gz", (both > 0).astype(np.uint8), spacing=(3.0, 3.0, 3.0))
    scores = score_folders(tmp_path / "found.nii.gz", tmp_path / "truth.nii.gz")
    (note,) = scores.notes
    assert "found.nii.gz: no voxel is kidney (1), all are 2 and 3" in note
    assert main([str(tmp_path / "found.nii.gz"), str(tmp_path / "truth.nii.gz"), "--out", str(tmp_path / "e")]) == 0
    said = capsys.readouterr()
    assert "no voxel is kidney (1), all are 2 and 3" in said.out + said.err


def test_grids_must_agree(tmp_path, capsys):
    write(tmp_path / "t" / "a.nii.gz", labels(9))
    write(tmp_path / "p" / "a.nii.gz", labels(9), origin=(3.0, -4.0, 9.0))
    assert main([str(tmp_path / "p"), str(tmp_path / "t")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "origin" in error
    assert "spacing" not in error
    write(tmp_path / "p" / "a.nii.gz", labels(9, shape=(6, 40, 51)))
    with pytest.raises(InputError, match=r"has \(6, 40, 51\) voxels|has \(6, 40, 50\) voxels"):
        score_folders(tmp_path / "p", tmp_path / "t")


def test_one_file_against_one(tmp_path):
    case = write(tmp_path / "case_00004" / "segmentation.nii.gz", labels(9))
    prediction = write(tmp_path / "my.nii.gz", labels(9))
    for truth in (case, case.parent):
        rows = score_folders(prediction, truth).rows
        assert [(row["case"], row["kidney_dice"]) for row in rows] == [("case_00004", 1.0)]


def test_names_of_label_files(tmp_path):
    for name in (
        "b.nii",
        "prediction_00210.nii.gz",
        "prediction_case_00007.nii.gz",
        "00211.nii.gz",
        "imaging.nii.gz",
    ):
        (tmp_path / name).touch()
    (tmp_path / ".tmp-1-c.nii.gz").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "case_00001").mkdir()
    (tmp_path / "case_00001" / "segmentation.nii.gz").touch()
    (tmp_path / "case_00002").mkdir()
    (tmp_path / "case_00002" / "imaging.nii.gz").touch()
    names = ["b", "case_00001", "case_00007", "case_00210", "case_00211"]
    assert list(find_label_files(tmp_path)) == names
    (tmp_path / "b.dcm").touch()  # the DICOM Segmentation beside a file of the same labels
    (tmp_path / "d.dcm").touch()
    (tmp_path / "case_00002" / "aggregated_MAJ_seg.nii.gz").touch()
    (tmp_path / "e.nrrd").touch()
    found = find_label_files(tmp_path)
    assert [name for name in found if name not in names] == ["case_00002", "d", "e"]
    assert found["b"].name == "b.nii"
    (tmp_path / "case_00210.nii").touch()
    with pytest.raises(InputError, match="same case"):
        find_label_files(tmp_path)


def test_folders_without_use(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "t" / "a.nii.gz", labels(9))
    write(tmp_path / "p" / "b.nii.gz", labels(9))
    for predictions, words in (("absent", "no such"), ("empty", "no label file"), ("p", "none of 1")):
        assert main([str(tmp_path / predictions), str(tmp_path / "t")]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


def test_table_of_nothing_present():
    rows = [{"case": "a", "patient": "a", **score_pair(labels(5), labels(5), MM)}]
    table = format_table1(summarize(rows)["where_present"], "title")
    assert table.splitlines()[3].split(maxsplit=4) == ["Tumor", "-", "-", "0", "(1 left out)"]


def test_scores_of_no_case_can_be_written(tmp_path):
    paths = write_scores([], tmp_path)
    assert paths[0].read_text().count("\n") == 1


def test_real_labels_against_themselves(shared_data):
    folder = shared_data / "kits19_labels" / "case_00030"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    row = score_folders(folder / "segmentation.nii.gz", folder, distance_mm=20).rows[0]
    assert row["case"] == "case_00030"
    assert row["kidney_dice"] == row["tumor_dice"] == 1.0
    assert row["postprocessed_tumor_dice"] == 1.0
