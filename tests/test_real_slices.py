"""The cross-validation on single slices: its arms, and what it makes of finished runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import KITS_AFFINE, save

from benchmarks.real_slices import results
from benchmarks.real_slices.__main__ import main
from benchmarks.real_slices.arms import FOLDER, find_arms, read_arm
from benchmarks.real_slices.training import prepare, run_folder
from data_prep.command import InputError
from data_prep.files import write_json
from data_prep.grid import GridSettings
from kidney_seg.scores import score_case

THICKNESS_MM, PIXEL_MM = 3.0, 0.8  # of helpers.KITS_AFFINE


def test_every_arm_is_sound_and_the_quick_ones_are_short():
    arms = find_arms(None, "paper")
    assert arms[0].name == "paper" and len(arms) == len(list(FOLDER.glob("*.json")))
    for arm in arms:
        long, short = arm.config().rounds, arm.config(short=True).rounds
        assert short.steps == long.steps // 4 and arm.why


def test_other_arms_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="nonsense: there is no such arm; expected a"):
        find_arms(["nonsense"], "paper")
    path = tmp_path / "mine.json"
    whole = json.loads((FOLDER / "paper.json").read_text())
    for change, words in (({"preset": "x"}, "preset 'x'"), ({"settings": ["stepz=3"]}, "stepz"), ({"size": 90}, "16")):
        path.write_text(json.dumps({**whole, **change}))
        with pytest.raises(InputError, match=words):
            read_arm(path)
    path.write_text("{}")
    with pytest.raises(InputError, match="is no arm"):
        read_arm(path)


@pytest.fixture
def source(tmp_path):
    for number in range(10):
        folder = tmp_path / "data" / f"case_{number:05d}"
        folder.mkdir(parents=True)
        save(folder / "imaging.nii.gz", np.full((1, 32, 32), number, np.int16), KITS_AFFINE)
        label = np.zeros((1, 32, 32), np.uint8)
        if number % 2:
            label[0, 4:20, 4:20], label[0, 8:10, 8:10] = 1, 2
        save(folder / "segmentation.nii.gz", label, KITS_AFFINE)
    return tmp_path / "data"


def finish(run, cache, cases, kidney_pixels):
    """Write the scores of a run in which every prediction is a square of so many pixels of kidney."""
    rows = []
    for case, has_kidney in cases:
        truth, found = np.zeros((1, 32, 32), np.uint8), np.zeros((1, 32, 32), np.uint8)
        truth[0, :10, :10] = has_kidney
        found[0].flat[:kidney_pixels] = 1
        rows.append(score_case(case, truth, found, (THICKNESS_MM, PIXEL_MM, PIXEL_MM), cleaned_labels=found))
    run.mkdir(parents=True)
    write_json(run / "manifest.json", {"data": str(cache)})
    scores = [{key: None if value != value else value for key, value in row.items()} for row in rows]
    (run / "evaluation" / "test").mkdir(parents=True)
    write_json(run / "evaluation" / "test" / "scores.json", {"cases": scores})


def test_slices_are_counted_as_the_table_says(source, tmp_path):
    cache = prepare(str(source), tmp_path, GridSettings(32))
    assert len(list((cache / "folds").glob("*.json"))) == 5
    alarm = int(results.FALSE_ALARM_MM2 / PIXEL_MM**2)  # the largest area that is none, in pixels
    arms = find_arms(["demo"], "paper")
    for arm, pixels in zip(arms, (alarm, alarm + 1), strict=True):
        finish(run_folder(arm, tmp_path, 0, 0), cache, [("case_00000", 0), ("case_00001", 1)], pixels)
        finish(run_folder(arm, tmp_path, 1, 0), cache, [("case_00003", 1), ("case_00005", 1)], pixels)
    first, second = results.collect(arms, tmp_path, [0, 1], [0])
    assert first["kidney"]["slices"] == 3 and first["runs"] == first["wanted"] == 2
    assert (first["false_alarms"], second["false_alarms"]) == (0.0, 1.0)
    assert first["kidney"]["difference"] is None and second["kidney"]["slices"] == 3
    assert second["kidney"]["mean"] != first["kidney"]["mean"]
    assert first["tumor"]["mean"] is None  # no slice has one
    lines = results.table([first, second]).splitlines()
    assert lines[1].startswith("paper") and lines[2].split()[-2:] == ["-", "100%"]


def test_folds_that_are_not_there_are_refused(source, tmp_path, capsys):
    assert main([str(source), "--out", str(tmp_path / "out"), "--folds", "5"]) == 2
    assert "from 0 to 4" in capsys.readouterr().err
    assert main([str(source), "--out", str(tmp_path / "out"), "--results"]) == 2
    assert "no finished run" in capsys.readouterr().err
