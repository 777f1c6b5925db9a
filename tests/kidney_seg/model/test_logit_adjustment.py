"""Odds of classes: worked out from the probabilities, and the same in files, ensembles and judgements."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.helpers import SMALLEST

from data_prep.cache.manifest import read_labelled_case, read_manifest
from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from data_prep.phantom.cohort import write_cohort
from data_prep.split.sets import read_split
from kidney_seg.config.presets import PRESETS
from kidney_seg.config.run_config import Config
from kidney_seg.model.attention_unet import build_model
from kidney_seg.model.logit_adjustment import set_class_odds, with_class_odds
from kidney_seg.model.model_file import find_accepted, find_source, load_model, save_model
from kidney_seg.predict import __main__ as predict
from kidney_seg.predict.engines import open_predictor
from kidney_seg.predict.predictor import make_predictor
from kidney_seg.progressive.driver import train
from kidney_seg.progressive.validation import validate_round
from kidney_seg.run.journal import read_events

pytestmark = pytest.mark.network

SMALL = ("size=32", "width_factor=0.1", "gates=", "multi_scale_input=false")
ODDS = (1.0, 2.0, 8.0)
NOISE = np.random.default_rng(0).uniform(-100, 300, (3, 32, 32)).astype(np.int16)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_odds_are_those_of_the_probabilities(activation):
    config = Config().with_settings([*SMALL, f"activation={activation}"])
    model = build_model(config.model)
    predict = make_predictor(model)
    before, weights = predict(NOISE).astype(float), model.get_weights()
    if activation == "softmax":
        expected = before * ODDS / (before * ODDS).sum(axis=-1, keepdims=True)
    else:
        odds = before / (1 - before) * ODDS
        expected = odds / (1 + odds)
    with with_class_odds(model, ODDS):
        np.testing.assert_allclose(predict(NOISE), expected, atol=1e-6)
    for now, then in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)
    set_class_odds(model, ODDS)
    np.testing.assert_allclose(predict(NOISE), expected, atol=1e-6)
    set_class_odds(model, (1, 1, 1))
    np.testing.assert_allclose(predict(NOISE), expected, atol=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_prediction_with_other_odds_is_that_of_a_model_with_them(activation, tmp_path):
    config = Config().with_settings([*SMALL, "odds=1,2,0.5", f"activation={activation}"])
    model = build_model(config.model)
    with with_class_odds(model, config.prediction.odds):
        save_model(model, config, GridSettings(32), tmp_path / "model.keras")
    source = find_source(tmp_path / "model.keras")
    asked = replace(config.prediction, odds=ODDS)
    for settings in (config.prediction, asked):
        with with_class_odds(model, settings.odds):
            expected = make_predictor(model)(NOISE)
        np.testing.assert_allclose(open_predictor([source], settings)(NOISE), expected, atol=1e-5)
    write_cohort(tmp_path / "scans", cases=1, size=32, slices=8)
    scan = str(tmp_path / "scans" / "case_00000" / "imaging.nii.gz")
    told = []
    for name, more in (("own", []), ("flat", ["--odds", "1,1,1"])):
        assert predict.main([str(source.path), scan, "--out", str(tmp_path / f"{name}.nii.gz"), *more]) == 0
        told.append(json.loads((tmp_path / f"{name}.json").read_text())["made_by"]["settings"]["odds"])
    assert told == [[1, 2, 0.5], [1, 1, 1]]
    assert predict.main([str(source.path), scan, "--out", str(tmp_path / "none.nii.gz"), "--odds", "1,2"]) == 2


@pytest.mark.parametrize("text", ["1,2", "1,0,1", "1,-1,1"])
def test_odds_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="odds"):
        Config().with_settings([f"odds={text}"])


@pytest.mark.slow
def test_a_run_is_judged_and_saved_with_its_odds_and_trained_without(simulated, tmp_path):
    settings = ["size=32", "width_factor=0.1", "starts=1", "start_steps=4", "max_rounds=0", "retries=0", *SMALLEST]
    plain = PRESETS["demo"].with_settings(settings)
    for name, config in (("plain", plain), ("odds", plain.with_settings(["odds=1,3,30"]))):
        train(simulated, tmp_path / name, config, say=lambda line: None)
    models = {name: load_model(tmp_path / name).model for name in ("plain", "odds")}
    manifest = read_manifest(simulated)
    image, _ = read_labelled_case(manifest, manifest.entries[0])
    plain_ones, with_them = (make_predictor(model)(image) for model in models.values())
    weighed = plain_ones * (1, 3, 30)
    np.testing.assert_allclose(with_them, weighed / weighed.sum(axis=-1, keepdims=True), atol=1e-5)
    selection = set(read_split(simulated / "split.json", manifest)["validation"])
    judged, _ = validate_round(
        make_predictor(models["odds"]), manifest, [entry for entry in manifest.entries if entry.patient in selection]
    )
    assert judged.score == pytest.approx(
        next(event for event in read_events(tmp_path / "odds") if event["event"] == "round")["score"], abs=1e-3
    )
    # the weights of the round are as trained, and get the odds where an ensemble takes them
    ensemble = find_accepted(tmp_path / "odds")
    np.testing.assert_allclose(make_predictor(ensemble[0].load())(image), with_them, atol=1e-6)
