"""The choice of the rule's distance: Dice by distance worked out by hand, the verdict, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest

from data_prep.errors import InputError
from kidney_seg import threshold
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.figures.score_plots import plot_thresholds
from kidney_seg.threshold import format_thresholds, main, score_thresholds, summarize_thresholds

pytestmark = pytest.mark.network

MM = (1.0, 1.0, 1.0)


def scene(patient, false_mm=(), tumor_mm=12, truth_has_tumor=True):
    """One kidney of 27 mL; a true tumor of .125 mL that lies apart; false kidney of 1 mL at distances."""
    truth = np.zeros((40, 40, 140), np.uint8)
    truth[5:35, 5:35, :30] = 1
    predicted = truth.copy()
    for labels, there in ((truth, truth_has_tumor), (predicted, True)):
        labels[10:15, 10:15, 29 + tumor_mm : 34 + tumor_mm] = 2 * there
    for mm in false_mm:
        predicted[20:30, 20:30, 29 + mm : 39 + mm] = 1
    return patient, truth, predicted, MM


def kidney_dice(false_objects):
    return 2 * 27.125 / (2 * 27.125 + false_objects)


def test_dice_by_distance():
    rows = score_thresholds([scene("a", (30, 60))], (5, 20, 40, 80), 20)
    found = {row["distance_mm"]: (row["kidney"], row["tumor"], row["average"]) for row in rows}
    assert list(found) == [None, 5, 20, 40, 80]
    assert found[None] == found[80] == pytest.approx((kidney_dice(2), 1, (kidney_dice(2) + 1) / 2))
    assert found[40] == pytest.approx((kidney_dice(1), 1, (kidney_dice(1) + 1) / 2))
    assert found[20] == (1, 1, 1)
    assert found[5] == pytest.approx((2 * 27 / (27 + 27.125), 0, 27 / (27 + 27.125)))


def test_a_structure_that_the_truth_lacks_does_not_count():
    rows = score_thresholds([scene("a", truth_has_tumor=False)], (20,), 20)
    assert [row["tumor"] for row in rows] == [None, None]
    assert [row["average"] for row in rows] == [None, None]
    assert [row["kidney"] for row in rows] == pytest.approx([2 * 27 / (27 + 27.125)] * 2)
    with pytest.raises(InputError, match="both kidney and tumor"):
        summarize_thresholds(rows, 20)


def rows_of(averages):
    """Rows with kidney = tumor = average, by distance a list over patients."""
    return [
        {"patient": str(number), "distance_mm": distance, "kidney": value, "tumor": value, "average": value}
        for distance, values in averages.items()
        for number, value in enumerate(values)
    ]


SPREAD = np.linspace(-0.03, 0.03, 20)


@pytest.mark.parametrize(
    ("gain", "chosen", "words"),
    [
        (0.05 + SPREAD, 10, "the interval is above 0: use --set distance_mm=10"),
        (0.005 + 2 * SPREAD, 20, "the interval is not above 0: keep 20 mm"),
        (0.001 + 0.01 * SPREAD, 20, "less than 0.002 is no gain: keep 20 mm"),
        (0 * SPREAD, 20, "20 mm is the model's setting: keep it"),
        (-0.05 + SPREAD, 20, "20 mm is the model's setting: keep it"),
    ],
)
def test_the_default_moves_only_for_an_interval_above_zero(gain, chosen, words):
    start = np.linspace(0.5, 0.7, 20)
    summary = summarize_thresholds(rows_of({None: start - 0.1, 10: start + gain, 20: start}), 20)
    assert summary["chosen_mm"] == chosen
    assert summary["best_mm"] == (10 if gain.mean() > 0 else 20)
    assert summary["against_default"]["difference"] == pytest.approx(max(gain.mean(), 0))
    assert words in format_thresholds(summary)
    lines = {(line["distance_mm"], line["structure"]): line for line in summary["table"]}
    assert lines[None, "tumor"]["mean"] == pytest.approx(0.5)
    assert lines[None, "tumor"]["low"] is None
    assert lines[20, "tumor"]["difference"] == pytest.approx(0.1)
    assert lines[20, "tumor"]["low"] == pytest.approx(0.1)
    assert lines[10, "kidney"]["low"] - 1e-9 <= 0.1 + gain.mean() <= lines[10, "kidney"]["high"] + 1e-9
    assert lines[10, "kidney"]["patients"] == 20


def test_one_patient_has_no_interval():
    summary = summarize_thresholds(rows_of({None: [0.5], 10: [0.7], 20: [0.6]}), 20)
    assert summary["chosen_mm"] == 20
    assert "[one patient]" in format_thresholds(summary)
    assert json.loads(json.dumps(summary, allow_nan=False))["against_default"]["low"] is None
    plot_thresholds(summary)


def test_command(monkeypatch, tmp_path, capsys):
    cases = [scene("a", (30, 60)), scene("b", (30,)), scene("c")]
    asked = []

    def predicted_cases(*arguments):
        asked.append(arguments)
        return PredictionConfig(), lambda: iter(cases)

    monkeypatch.setattr(threshold, "predicted_cases", predicted_cases)
    figure, report = tmp_path / "f.png", tmp_path / "r.json"
    command = ["RUN", "--data", "CACHE", "--distances", "5", "40", "--figure", str(figure), "--json", str(report)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert asked == [("RUN", "CACHE", None, "validation")]
    assert [line.split()[0] for line in said.splitlines()[2:6]] == ["none", "5", "20", "40"]
    mean = (kidney_dice(2) + kidney_dice(1) + 1) / 3
    assert f"{mean:.4f}" in said
    assert "20 mm is the model's setting: keep it" in said
    assert figure.read_bytes().startswith(b"\x89PNG")
    content = json.loads(report.read_text())
    assert len(content["rows"]) == 12
    assert content["chosen_mm"] == 20
    for wrong in (["--distances", "-1"], ["--distances", "nan"], ["--figure", "x.txt"]):
        assert main(["RUN", *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_command_with_a_network(tmp_path, capsys):
    """From files to figures: the row without the rule is the mean Dice of the labels that predict writes."""
    from data_prep.build.builder import build
    from data_prep.geometry.network_grid import GridSettings
    from data_prep.phantom.cohort import write_cohort
    from data_prep.split.sets import make_split, write_split
    from data_prep.volume import read_labels, read_volume
    from kidney_seg.config.run_config import Config
    from kidney_seg.metrics.overlap import kits19_dice
    from kidney_seg.model.attention_unet import build_model
    from kidney_seg.model.model_file import load_model, save_model
    from kidney_seg.predict.predictor import make_predictor, predict_volume

    write_cohort(tmp_path / "patients", cases=4, size=32, slices=8)
    settings = GridSettings(16)
    manifest = build(tmp_path / "patients", tmp_path / "cache", settings).manifest
    write_split(manifest, make_split(manifest, (0.25, 0.5, 0.25)))
    config = Config().with_settings(["size=16", "width_factor=0.1"])
    path = tmp_path / "model.keras"
    save_model(build_model(config.model), config, settings, path)

    assert main([str(path)]) == 2
    assert "--data" in capsys.readouterr().err
    assert main([str(tmp_path / "absent"), "--data", str(tmp_path / "cache")]) == 2
    assert "absent" in capsys.readouterr().err
    report = tmp_path / "report.json"
    assert main([str(path), "--data", str(tmp_path / "cache"), "--json", str(report)]) == 0
    content = json.loads(report.read_text())
    loaded = load_model(path)
    split = json.loads((tmp_path / "cache" / "split.json").read_text())
    for patient in split["validation"]:
        volume = read_volume(tmp_path / "patients" / patient / "imaging.nii.gz")
        truth = read_labels(tmp_path / "patients" / patient / "segmentation.nii.gz")
        labels = predict_volume(make_predictor(loaded.model), volume, loaded.grid)
        expected = kits19_dice(truth.voxels, labels)["kidney"]
        row = next(row for row in content["rows"] if row["patient"] == patient and row["distance_mm"] is None)
        assert row["kidney"] == expected
