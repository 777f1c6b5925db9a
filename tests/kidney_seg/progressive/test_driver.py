"""The whole loop on tiny simulated patients: trained, stopped, continued, scored, and predicted with."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
from support.dicom_files import SPACING_MM, random_hu, save_slices, slices_of, without_identifiers

from data_prep.errors import InputError
from data_prep.volume import read_labels
from kidney_seg.config.run_config import Config
from kidney_seg.evaluate.__main__ import main as evaluate_main
from kidney_seg.export.contract import make_contract
from kidney_seg.export.model_card import write_card
from kidney_seg.metrics.overlap import kits19_dice
from kidney_seg.model.model_file import load_model
from kidney_seg.model.trained_on import origin_line
from kidney_seg.predict.__main__ import main as predict_main
from kidney_seg.progressive import driver as progressive
from kidney_seg.progressive import rounds
from kidney_seg.progressive.validation import Validation

pytestmark = [pytest.mark.network, pytest.mark.slow]

# without gates and other scales, for TensorFlow takes 10 s to trace them; all heads, for the logs tell of each
TINY = Config().with_settings(
    "size=32 width_factor=0.1 batch_norm_momentum=0.9 starts=2 start_steps=6 steps=4 max_rounds=2 patience=2 retries=0 "
    "batch_size=4 peak_rate=0.01 gates= multi_scale_input=false".split()
)
SHORTEST = TINY.with_settings("deep_supervision=false max_rounds=0 starts=1 start_steps=1".split())


@pytest.fixture(scope="module")
def cache(simulated):
    return simulated


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
    """A run that nothing disturbed: its folder, what it said, and what it returned."""
    out, said = tmp_path_factory.mktemp("runs") / "undisturbed", []
    scores = progressive.train(cache, out, TINY, seed=5, say=said.append)
    return out, said, scores


def events(out, name: str) -> list[dict]:
    lines = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == name]


def test_journal_tells_the_paper_s_loop(finished, cache):
    out, _, _ = finished
    split = json.loads((cache / "split.json").read_text())
    attempts, played = events(out, "attempt"), events(out, "round")
    assert [(entry["round"], entry["attempt"]) for entry in attempts[:2]] == [(0, 0), (0, 1)]  # the starts
    assert attempts[0]["patients"] == split["train"]
    for entry in attempts[2:]:  # "using randomly selected training dataset"
        assert len(entry["patients"]) == 2 and set(entry["patients"]) <= set(split["train"])
    assert attempts[2]["rate"] == pytest.approx(0.7 * attempts[0]["rate"])
    best_start = max(attempts[:2], key=lambda entry: (not entry["trouble"], entry["score"]))
    assert (played[0]["attempt"], played[0]["accepted"]) == (best_start["attempt"], True)
    assert len(events(out, "tested")) == 1


def test_everything_is_written_and_named(finished):
    out, said, scores = finished
    for name in (
        "config.json",
        "manifest.json",
        "best.keras",
        "progress.png",
        "report.html",
        "rounds/00/history.csv",
        "rounds/00/worst0.png",
        "evaluation/test/cases.csv",
        "evaluation/test/overlays.png",
        "evaluation/test/scores.json",
    ):
        assert (out / name).is_file(), name
    assert not list(out.rglob(".tmp-*"))
    text = "\n".join(said)
    assert "Table 1" in text and "Kidney" in text and "epoch 1/" in text
    assert str(out / "best.keras") in text
    assert said[-4] == str(out / "report.html")  # so few steps fail, which is said last
    assert [line.partition(":")[0] for line in said[-3:]] == ["training failed", "tried", "to do"]
    assert len(scores["cases"]) == 2


def test_tensorboard_finds_curves_and_pictures(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    out, _, _ = finished
    logs = sorted(path.name for path in (out / "logs").iterdir())
    assert logs[:3] == ["round00-attempt1", "round00-attempt2", "round01-attempt1"]
    log = EventAccumulator(str(out / "logs" / "round01-attempt1"))
    log.Reload()
    assert {"loss", "head4_loss", "rate", "Dice kidney", "worst cases"} <= set(log.Tags()["tensors"])
    recorded = [float(make_ndarray(event.tensor_proto)) for event in log.Tensors("loss")]
    attempt = next(entry for entry in events(out, "attempt") if entry["round"] == 1)
    assert recorded == pytest.approx([row["loss"] for row in attempt["history"]], abs=1e-6)
    assert log.Tensors("loss")[-1].step == 6 + 4  # round 0 had 6 steps


def test_scores_are_those_of_the_written_labels(finished, cache):
    out, _, scores = finished
    for row in scores["cases"]:
        written = out / "evaluation" / "test" / f"{row['case']}.nii.gz"
        truth = cache.parent / "patients" / row["case"] / "segmentation.nii.gz"
        assert nibabel.load(written).shape == nibabel.load(truth).shape
        np.testing.assert_allclose(nibabel.load(written).affine, nibabel.load(truth).affine, atol=1e-5)
        dice = kits19_dice(read_labels(truth).voxels, read_labels(written).voxels)
        for name, value in dice.items():
            expected = row[f"postprocessed_{name}_dice"]
            assert np.isnan(value) if expected is None else value == pytest.approx(expected)


def test_best_model_is_the_accepted_round_s(finished):
    out, _, scores = finished
    accepted = [entry for entry in events(out, "round") if entry["accepted"]][-1]
    assert scores["best"] == accepted
    loaded = load_model(out)
    before = [np.asarray(weight) for weight in loaded.model.get_weights()]
    loaded.model.load_weights(out / accepted["weights"])
    for old, new in zip(before, loaded.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert loaded.config == TINY


def test_the_word_simulated_follows_the_data_everywhere(finished, cache, tmp_path, capsys):
    out, said, scores = finished
    kind, words = "simulated", "trained on simulated patients: not for real scans"
    both = [words, "its training failed: nothing but background is predicted"]
    assert json.loads((cache / "manifest.json").read_text())["cohort"]["kind"] == kind
    assert json.loads((out / "manifest.json").read_text())["origin"]["kind"] == kind
    assert (scores["cohort"]["kind"], scores["origin"]["kind"]) == (kind, kind)
    assert 0.5 < scores["ceiling"]["kidney"] <= 1
    assert "data: simulated patients" in said
    assert any("2 test patients (simulated patients)" in line for line in said)
    html = (out / "report.html").read_text()
    assert words in html and "The patients are simulated" in html
    assert "0.572" not in html and "Published scores are not shown here" in html
    loaded = load_model(out)
    assert loaded.origin.kind == kind and origin_line([loaded]) == "model: " + "; ".join(both)
    contract = make_contract(loaded)
    assert contract["about"]["trained_on"] == both
    card = write_card(loaded, contract, out, "ONNX")
    assert (
        " ".join(f"**{text.capitalize()}.**" for text in both) in card
        and "2 test patients (simulated patients)" in card
    )
    scan = cache.parent / "patients" / "case_00000" / "imaging.nii.gz"
    assert predict_main([str(out), str(scan), "--out", str(tmp_path / "p" / "case_00000.nii.gz")]) == 0
    assert words in capsys.readouterr().err
    assert json.loads((tmp_path / "p" / "case_00000.json").read_text())["trained_on"] == both
    truth = cache.parent / "patients"
    assert evaluate_main([str(tmp_path / "p"), str(truth), "--out", str(tmp_path / "e")]) == 0
    assert f"predicted by a model: {words}" in capsys.readouterr().out
    scored = json.loads((tmp_path / "e" / "scores.json").read_text())
    assert (scored["cohort"]["kind"], scored["origin"]["kind"]) == (kind, kind)


class Stop(Exception):
    """What a killed process cannot say."""


def test_stopped_run_ends_with_the_same_bits(finished, cache, tmp_path):
    out, _, scores = finished

    def stop_at(words: str):
        def say(line: str) -> None:
            if line.startswith(words):
                raise Stop

        return say

    again = tmp_path / "stopped"
    for words in ("round 0, start 2: epoch 1", "round 1: 4 steps"):
        with pytest.raises(Stop):
            progressive.train(cache, again, TINY, seed=5, say=stop_at(words))
    resumed = progressive.train(cache, again, TINY, seed=5, say=lambda line: None)
    kept = {"best": None}  # holds the checksum of a file that holds dates
    assert resumed | kept == scores | kept
    for mine, other in zip(load_model(again).model.get_weights(), load_model(out).model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)

    def comparable(folder):
        for event in events(folder, "attempt"):
            history = [{**row, "seconds": None, "waited": None} for row in event["history"]]
            yield {**event, "sha256": None, "history": history}  # files hold dates

    assert list(comparable(again)) == list(comparable(out))


def test_finished_run_says_so_and_trains_nothing(finished, cache, monkeypatch):
    out, _, scores = finished
    monkeypatch.setattr(rounds, "Rounds", None)
    journal = (out / "journal.jsonl").read_bytes()
    said = []
    assert progressive.train(cache, out, TINY, seed=5, say=said.append) == scores
    assert [line.partition(":")[0] for line in said[:2]] == ["data", "device"]
    assert "this run is finished" in said[2] and "Table 1" in "\n".join(said)
    assert (out / "journal.jsonl").read_bytes() == journal


def test_other_settings_do_not_enter_the_folder(finished, cache):
    out, _, _ = finished
    with pytest.raises(InputError, match="steps: 4 -> 5"):
        progressive.train(cache, out, TINY.with_settings(["steps=5"]), seed=5)
    with pytest.raises(InputError, match="seed: 5 -> 6"):
        progressive.train(cache, out, TINY, seed=6)
    with pytest.raises(InputError, match="its slices are 32 pixels wide, the setting size is 64"):
        progressive.train(cache, out, TINY.with_settings(["size=64"]), seed=5)


def test_test_patients_are_not_read_before_the_rounds_end(cache, tmp_path):
    moved = tmp_path / "cache"
    shutil.copytree(cache, moved)
    split = json.loads((moved / "split.json").read_text())
    for name in split["test"]:
        (moved / f"{name}.h5").write_bytes(b"unreadable")
    assert len(progressive.train(moved, tmp_path / "run", SHORTEST, say=lambda line: None)["cases"]) == 2


def test_stop_on_test_is_said_everywhere(cache, tmp_path):
    config = SHORTEST.with_settings(["stop_on=test"])
    said = []
    scores = progressive.train(cache, tmp_path / "run", config, say=said.append)
    assert scores["stop_on"] == "test"
    text = "\n".join(said)
    assert "2 test cases" in text and "the scores are optimistic" in text


def test_collapsed_rounds_are_tried_again_at_half_the_rate(cache, tmp_path, monkeypatch):
    answers = iter(["bad", "bad", None, None, "bad", "bad"])  # two starts and one more; round 1; round 2 twice

    def judged(*_):
        trouble = next(answers)
        judged.score += 0.1
        return Validation(0.5, 0.5, 0.0 if trouble else judged.score, trouble), []

    judged.score = 0.0
    monkeypatch.setattr(rounds, "validate_round", judged)
    out = tmp_path / "run"
    progressive.train(cache, out, TINY.with_settings(["retries=1", "deep_supervision=false"]), say=lambda line: None)
    attempts = [(entry["round"], entry["attempt"], entry["trouble"]) for entry in events(out, "attempt")]
    assert attempts == [(0, 0, "bad"), (0, 1, "bad"), (0, 2, None), (1, 0, None), (2, 0, "bad"), (2, 1, "bad")]
    rates = [entry["rate"] for entry in events(out, "attempt")]
    assert rates[5] == pytest.approx(rates[4] / 2)
    assert [entry["accepted"] for entry in events(out, "round")] == [True, True, False]


def test_rounds_without_a_warm_start_begin_with_new_weights(cache, tmp_path, monkeypatch):
    seeds, loaded = [], []
    initialize, load = rounds.Trainer.initialize, rounds.RunFolder.load_weights
    monkeypatch.setattr(rounds.Trainer, "initialize", lambda self, seed: (seeds.append(seed), initialize(self, seed)))
    monkeypatch.setattr(
        rounds.RunFolder, "load_weights", lambda run, model, record: (loaded.append(record), load(run, model, record))
    )
    more = "max_rounds=2 steps=1 patience=3".split()
    for warm_start, started in (("none", 3), ("best", 1)):
        seeds.clear()
        loaded.clear()
        config = SHORTEST.with_settings([*more, f"warm_start={warm_start}"])
        progressive.train(cache, tmp_path / warm_start, config, say=lambda line: None)
        assert len(set(seeds)) == len(seeds) == started
        accepted = sum(entry["accepted"] for entry in events(tmp_path / warm_start, "round"))
        assert len(loaded) == accepted + (3 - started)  # to write the best model, and to start a later round


def test_predict_one_real_volume_on_its_own_grid(finished, shared_data, tmp_path):
    out, _, _ = finished
    inputs = [shared_data / "real_ct" / "case_90000" / "imaging.nii.gz"]
    inputs += sorted((shared_data / "kits_real_slices").glob("*/imaging.nii.gz"))[:1]
    for number, source in enumerate(inputs):
        target = tmp_path / f"{number}.nii.gz"
        assert predict_main([str(out), str(source), "--out", str(target)]) == 0
        made, given = nibabel.load(target), nibabel.load(source)
        assert made.shape == given.shape
        np.testing.assert_allclose(made.affine, given.affine, atol=1e-5)
        assert made.get_data_dtype() == np.uint8
        written = target.stat().st_mtime_ns
        assert predict_main([str(out), str(source), "--out", str(target)]) == 0  # done, whole, by the same model
        assert target.stat().st_mtime_ns == written
        target.write_bytes(b"somebody's work")
        assert predict_main([str(out), str(source), "--out", str(target)]) == 2  # never overwritten unasked
        assert predict_main([str(out), str(source), "--out", str(target), "--force"]) == 0
        assert nibabel.load(target).shape == given.shape


def test_predict_a_folder_of_dicom_files(finished, tmp_path, capsys):
    out, _, _ = finished
    save_slices(tmp_path / "scan", slices_of(random_hu(4, 40, 36)))
    target = tmp_path / "labels.nii.gz"
    assert predict_main([str(out), str(tmp_path / "scan"), "--out", str(target)]) == 0
    made = nibabel.load(target)
    assert made.shape == (36, 40, 4)
    np.testing.assert_allclose(sorted(made.header.get_zooms()), sorted(SPACING_MM), atol=1e-5)
    without_identifiers(capsys.readouterr().err)
    bad = ["--series", "7"], ["--out", str(tmp_path / "x.png")], ["--images", "{case}.nii.gz"]
    for extra in bad:
        assert predict_main([str(out), str(tmp_path / "scan"), "--out", str(tmp_path / "x.nii.gz"), *extra]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: ")


def test_predict_the_test_set_and_its_errors(finished, cache, tmp_path, capsys):
    out, _, scores = finished
    patients, split = str(cache.parent / "patients"), str(cache / "split.json")
    assert predict_main([str(out), patients, "--out", str(tmp_path / "p"), "--split", split]) == 0
    made = sorted(path.name for path in (tmp_path / "p").glob("*.nii.gz"))
    assert made == sorted(f"{row['case']}.nii.gz" for row in scores["cases"])
    others = {"overview.html", "pictures", "summary.csv"}
    assert {path.name for path in (tmp_path / "p").iterdir()} == {
        *made, *(name.replace(".nii.gz", ".json") for name in made), *others
    }  # fmt: skip
    for name in made:
        expected = read_labels(out / "evaluation" / "test" / name).voxels
        np.testing.assert_array_equal(read_labels(tmp_path / "p" / name).voxels, expected)
    capsys.readouterr()
    for arguments in (
        [str(tmp_path), patients, "--out", "x"],
        [str(out), str(tmp_path / "absent"), "--out", "x"],
        [str(out), patients + "/case_00000/imaging.nii.gz", "--out", "x.png"],
        [str(out), str(tmp_path / "p"), "--out", "x"],
    ):
        assert predict_main(arguments) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: ")
