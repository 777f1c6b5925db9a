"""The cross-validation on single slices: its arms, and what it makes of finished runs."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest
from support.helpers import KITS_AFFINE, save

from benchmarks.real_slices import results
from benchmarks.real_slices.__main__ import main
from benchmarks.real_slices.arms import FOLDER, find_arms, read_arm
from benchmarks.real_slices.gather import gather
from benchmarks.real_slices.training import prepare, run_folder, scores_file
from data_prep.cache.manifest import read_manifest
from data_prep.datasets.kits import find_cases
from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.files.json_files import read_json, write_json
from data_prep.geometry.network_grid import GridSettings
from data_prep.phantom.cohort import write_cohort
from kidney_seg.evaluate.case_scores import score_case

THICKNESS_MM, PIXEL_MM = 3.0, 0.8  # of helpers.KITS_AFFINE


def test_every_arm_is_sound_and_the_quick_ones_are_short():
    arms = find_arms(None, "paper")
    assert arms[0].name == "paper" and len(arms) == len(list(FOLDER.glob("*.json")))
    assert all(arm.teacher.cohort for arm in arms if arm.teacher) and any(arm.teacher for arm in arms)
    for arm in arms:
        long, short = arm.config().rounds, arm.config(short=True).rounds
        assert short.steps == long.steps // 4 and arm.why


def test_other_arms_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="nonsense: no such arm; expected a"):
        find_arms(["nonsense"], "paper")
    path = tmp_path / "mine.json"
    (tmp_path / "untaught.json").write_text((FOLDER / "paper.json").read_text())
    whole = json.loads((FOLDER / "paper.json").read_text())
    for change, words in (
        ({"preset": "x"}, "preset 'x'"),
        ({"settings": ["stepz=3"]}, "stepz"),
        ({"size": 90}, "16"),
        ({"cohort": {"looks": 1}}, "not an arm"),
        ({"networks": ["untaught"], "size": 64}, "on the same grid"),
        ({"networks": ["untaught"], "teacher": "untaught"}, "untaught"),
    ):
        path.write_text(json.dumps({**whole, **change}))
        with pytest.raises(InputError, match=words):
            read_arm(path)
    path.write_text(json.dumps({**whole, "teacher": "untaught"}))
    with pytest.raises(InputError, match="expected an arm with a cohort"):
        read_arm(path)
    path.write_text("{}")
    with pytest.raises(InputError, match="not an arm"):
        read_arm(path)


def test_an_arm_that_is_like_another_has_all_of_it_but_its_own(tmp_path):
    few, scratch, half = find_arms(["scratch", "scratch-half"], "few", ["steps=7"])
    assert few.teacher.name == "simulated" and scratch.teacher is half.teacher is None
    assert few.grid == half.grid and few.config() == scratch.config()
    assert scratch.config().with_settings(["width_factor=0.5"]) == half.config()
    assert {arm.config().rounds.steps for arm in (few, half, few.teacher)} == {7}
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"why": "to test", "like": other}))
    with pytest.raises(InputError, match=r"one\.json: is like itself, through one, two; name another"):
        read_arm(tmp_path / "one.json")


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


def finish(path, cases, kidney_pixels):
    """Write scores of predictions that are a square of so many pixels of kidney; odd cases hold a kidney."""
    rows = []
    for case in cases:
        truth, found = np.zeros((1, 32, 32), np.uint8), np.zeros((1, 32, 32), np.uint8)
        truth[0, :10, :10] = int(case[-1]) % 2
        found[0].flat[:kidney_pixels] = 1
        rows.append(score_case(case, truth, found, (THICKNESS_MM, PIXEL_MM, PIXEL_MM), cleaned_labels=found))
    path.parent.mkdir(parents=True)
    write_json(
        path, {"cases": [{key: None if value != value else value for key, value in row.items()} for row in rows]}
    )


def test_slices_are_counted_as_the_table_says(source, tmp_path):
    arms = find_arms(["scratch", "simulated"], "paper")
    cache = prepare(str(source), tmp_path, arms[0].grid)
    folds = [json.loads((cache / "folds" / f"fold{fold}.json").read_text())["test"] for fold in range(5)]
    assert sorted(itertools.chain(*folds)) == [f"case_{number:05d}" for number in range(10)]
    alarm = int(results.FALSE_ALARM_MM2 / PIXEL_MM**2)  # the largest area that is none, in pixels
    for arm, pixels in zip(arms[:2], (alarm, alarm + 1), strict=True):
        for fold in (0, 1):
            finish(scores_file(run_folder(arm, tmp_path, fold, 0)), folds[fold], pixels)
    # a teacher is one run, scored on all slices: of these only the folds' own count
    finish(scores_file(run_folder(arms[2], tmp_path, 0, 0), teacher=True), itertools.chain(*folds), alarm)
    first, second, teacher = results.collect(arms, tmp_path, tmp_path, [0, 1], [0])
    assert first["runs"] == first["wanted"] == 2
    kidneys = sum(int(name[-1]) % 2 for name in folds[0] + folds[1])
    assert first["kidney"]["slices"] == teacher["kidney"]["slices"] == kidneys
    assert first["kidney"]["mean"] == teacher["kidney"]["mean"]
    assert (first["kidney"]["false"], second["kidney"]["false"]) == (0.0, 1.0)
    assert first["tumor"]["false"] == 0.0  # nothing is called tumor
    assert first["kidney"]["difference"] is None and second["kidney"]["mean"] != first["kidney"]["mean"]
    assert first["tumor"]["mean"] is None  # no slice has one
    assert [one["slices"] for one in first["kidney"]["by_area"]] == [kidneys, 0, 0, 0]  # 100 pixels are 64 mm2
    assert first["kidney"]["by_area"][0]["mean"] == pytest.approx(first["kidney"]["mean"])
    assert results.area_table([first]).splitlines()[1].split()[:2] == ["paper", str(kidneys)]
    lines = results.table([first, second]).splitlines()
    assert lines[1].startswith("paper") and lines[2].split()[-3:] == ["-", "0%", "100%"]
    assert results.collect(arms[:1], tmp_path, tmp_path, [2], [0]) == []
    both = arms[0].together((0, 1))
    finish(scores_file(run_folder(both, tmp_path, 0, 0)), folds[0], 0)
    for fold in (0, 1):  # of the second seed
        finish(scores_file(run_folder(arms[0], tmp_path, fold, 1)), folds[fold], alarm)
    pooled, averaged, taught = results.collect([arms[0], both, arms[2]], tmp_path, tmp_path, [0, 1], [0, 1])
    assert (pooled["runs"], pooled["wanted"], pooled["kidney"]["slices"]) == (4, 4, 2 * kidneys)
    assert (averaged["arm"], averaged["runs"], averaged["wanted"]) == (f"{arms[0].name} x2", 1, 2)
    assert averaged["kidney"]["mean"] == 0.0 and averaged["kidney"]["slices"] < kidneys
    assert taught["wanted"] == 2  # a teacher is one, whatever the seeds


def test_an_arm_is_chosen_by_the_other_folds(source, tmp_path):
    arms = find_arms(["scratch", "few"], "paper")
    names = [arm.name for arm in arms]
    cache = prepare(str(source), tmp_path, arms[0].grid)
    folds = [json.loads((cache / "folds" / f"fold{fold}.json").read_text())["test"] for fold in range(5)]
    first, second, third, *_ = [fold for fold in range(5) if any(int(name[-1]) % 2 for name in folds[fold])]
    # pixels found, of which 100 are right where there is a kidney: a Dice of 0, 200 / 1000 or 200 / 420
    found = {"paper": (0, 0, 0), "scratch": (900, 0, 0), "few": (0, 320, 320)}
    for arm in arms:
        for fold, pixels in zip((first, second, third), found[arm.name], strict=True):
            finish(scores_file(run_folder(arm, tmp_path, fold, 0)), folds[fold], pixels)
    rows = results.collect(arms, tmp_path, tmp_path, [first, second, third], [0], names)
    chosen = rows[-1]
    assert chosen["arm"] == "chosen"
    assert chosen["why"] == f"fold {first}: few, fold {second}: few, fold {third}: few"
    assert chosen["kidney"]["mean"] == rows[2]["kidney"]["mean"] > 0
    # of two folds each is judged by the other alone, which here misleads
    chosen = results.collect(arms, tmp_path, tmp_path, [first, second], [0], names)[-1]
    assert chosen["why"] == f"fold {first}: few, fold {second}: scratch" and chosen["kidney"]["mean"] == 0
    assert results.collect(arms, tmp_path, tmp_path, [first, second], [0, 1], names)[-1]["arm"] == "few"  # a seed fails


def test_several_folders_are_one_with_a_patient_for_each_number(tmp_path):
    names = {"runs": "case_00002_s0157-0198", "slices": "case_00002_s0050", "curvas": "curvas_10003_46_a1"}
    for folder, name in names.items():
        (tmp_path / folder / name).mkdir(parents=True)
        for file in ("imaging.nii.gz", "segmentation.nii.gz"):
            save(tmp_path / folder / name / file, np.zeros((1, 8, 8), np.uint8), KITS_AFFINE)
    folders = [str(tmp_path / folder) for folder in names]
    assert gather(folders[:1], tmp_path / "out") == folders[0] and not (tmp_path / "out").exists()
    for _ in range(2):  # the second time all links exist
        cases, problems = find_cases(gather(folders, tmp_path / "out"))
        assert not problems and [(case.name, case.patient) for case in cases] == [
            ("case_00002_s0050_slices", "case_00002"),
            ("case_00002_s0157-0198_runs", "case_00002"),
            ("case_10003_s0046_a1_curvas", "case_10003"),
        ]
    with pytest.raises(InputError, match="different names"):
        gather([folders[0], folders[0]], tmp_path / "out")


@pytest.mark.slow
def test_a_pupil_begins_where_its_teacher_ended(source, tmp_path, capsys):
    maps = write_cohort(tmp_path / "maps", cases=13, size=32, slices=8)
    arms = {
        "teacher": {"cohort": {"looks": 2, "size": 32, "thickness_mm": 4, "appearance": "wild"}},
        "pupil": {"teacher": "teacher"},
        "average": {"networks": ["pupil"]},
    }
    common = {"why": "to test", "preset": "demo", "size": 32, "pixel_mm": None}
    settings = ["width_factor=0.05", "starts=1", "start_steps=2", "max_rounds=0"]
    settings += ["gates=", "multi_scale_input=false", "deep_supervision=false"]  # the fewest layers are traced soonest
    for name, more in arms.items():
        how = ["flips=both", "odds=1,1,9"] if name == "average" else []
        (tmp_path / f"{name}.json").write_text(json.dumps({**common, "settings": settings + how, **more}))
    folds = prepare(str(source), tmp_path / "out", GridSettings(32)) / "folds"
    with_kidney = [
        any(int(name[-1]) % 2 for name in read_json(path, "fold")["validation"]) for path in sorted(folds.iterdir())
    ]
    fold = f"fold{with_kidney.index(True)}"
    command = [str(source), "--out", str(tmp_path / "out"), "--labels", str(tmp_path / "maps"), "--folds", fold[4:]]
    command += [
        "--against",
        str(tmp_path / "teacher.json"),
        "--arms",
        str(tmp_path / "pupil.json"),
        str(tmp_path / "average.json"),
        "--seeds",
        "0",
        "1",
        "--together",
    ]
    assert main(command) == 0
    shown = capsys.readouterr().out.splitlines()
    for rows in (shown[-5:], shown[-12:-7]):  # by area, and all
        assert [re.split("  +", row)[0] for row in rows] == ["teacher", "pupil", "average", "pupil x2", "average x2"]
    full = tmp_path / "out" / "full"
    for seed in (0, 1):
        manifest = json.loads((full / "pupil" / f"{fold}-seed{seed}" / "manifest.json").read_text())
        assert manifest["pretrained_sha256"] == sha256_of(full / "teacher" / "seed0" / "best.keras")
    both = full / "pupil" / f"{fold}-seeds0+1" / "predictions"
    asked = json.loads(next(both.glob("case_*.json")).read_text())
    assert len(asked["made_by"]["models"]) == 2 and len(list(both.glob("*.nii.gz"))) == 2
    for where, models in (("seed1", 1), ("seeds0+1", 2)):  # nothing is trained for it
        made = next((full / "average").glob(f"{fold}-{where}/predictions/case_*.json"))
        made_by = json.loads(made.read_text())["made_by"]
        assert (made_by["settings"]["flips"], made_by["settings"]["odds"]) == ("both", [1, 1, 9])
        assert len(made_by["models"]) == models and not (made.parents[1] / "best.keras").exists()
    learned = read_manifest(next((tmp_path / "out").glob("cache-wild-*")))
    # the slices are of patients 0 to 9: no map of theirs is learned from; each other one looks two ways
    assert sorted(entry.case for entry in learned.entries) == [
        f"{folder.name}_look{look}" for folder in maps[10:] for look in (0, 1)
    ]
    before = sorted(path.stat().st_mtime_ns for path in full.rglob("*"))
    assert main(command) == 0  # all is done
    assert sorted(path.stat().st_mtime_ns for path in full.rglob("*")) == before


def test_teachers_need_label_maps_of_other_patients(source, tmp_path, capsys):
    command = [str(source), "--out", str(tmp_path / "out"), "--arms", "simulated"]
    assert main(command) == 2
    assert "give --labels DIR" in capsys.readouterr().err
    write_cohort(tmp_path / "maps", cases=2, size=32, slices=8)
    assert main([*command, "--labels", str(tmp_path / "maps")]) == 2
    assert "all label maps are of excluded patients" in capsys.readouterr().err


def test_folds_that_are_not_there_are_refused(source, tmp_path, capsys):
    assert main([str(source), "--out", str(tmp_path / "out"), "--folds", "5"]) == 2
    assert "from 0 to 4" in capsys.readouterr().err
    assert main([str(source), "--out", str(tmp_path / "out"), "--together"]) == 2
    assert "give two --seeds" in capsys.readouterr().err
    for choice in (["few"], ["few", "nonsense"]):
        assert main([str(source), "--out", str(tmp_path / "out"), "--choose", *choice]) == 2
        assert "expected two or more of paper, " in capsys.readouterr().err
    assert main([str(source), "--out", str(tmp_path / "out"), "--results"]) == 2
    assert "no finished run" in capsys.readouterr().err
