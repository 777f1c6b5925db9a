"""`views_from`: slices of background in their unchanged view are not predicted in the others, by any engine."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from support.threshold_model import SIZE, write_threshold_model

from data_prep.errors import InputError
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.config.presets import PRESETS
from kidney_seg.export.contract import make_contract
from kidney_seg.export.onnx_pipeline import build_onnx
from kidney_seg.export.tensorflow_graph import build_tensorflow_graph
from kidney_seg.model.model_file import find_source
from kidney_seg.predict.averaging import combined
from kidney_seg.predict.engines import made_by, open_predictor
from kidney_seg.weights import STARTER

pytestmark = pytest.mark.network

VIEWS = ["flips=left_right", "zooms=1.25,1", "slices_per_batch=8", "deep_supervision=false"]
KINDS = {"all": (1, 1, 1), "none": (0, 0, 0), "some": (0, 1, 1, 0, 1, 0, 0), "one": (1,)}  # 1: has foreground


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return find_source(write_threshold_model(tmp_path_factory.mktemp("model") / "a.keras", *VIEWS, "views_from=0.01"))


def slices(kept) -> np.ndarray:
    """Return HU with a bright block per slice: of foreground where `kept`, else of less than 1 % of it."""
    hu = np.full((len(kept), SIZE, SIZE), -100, np.int16)
    for number, bright in enumerate(kept):
        hu[number, 3 + number % 4 : 9, 2:7] = 100 if bright else 0
    return hu


def through_keras(source, hu):
    return open_predictor([source], source.config.prediction, "keras")(hu)


def through_onnx(source, hu):
    return open_predictor([source], source.config.prediction, "onnx")(hu)


@lru_cache
def served(source):
    loaded = source.open()
    return build_tensorflow_graph(loaded, make_contract(loaded))


def through_saved_model(source, hu):
    made = served(source)[1]["serving_default"](**request(hu, tf.constant))
    return answers({name: one.numpy() for name, one in made.items()})


@lru_cache
def export_session(source):
    return onnxruntime.InferenceSession(build_onnx(source.open(), {}))


def through_onnx_export(source, hu):
    session = export_session(source)
    names = [one.name for one in session.get_outputs()]
    return answers(dict(zip(names, session.run(names, request(hu)), strict=True)))


def request(hu, kind=np.asarray):
    return {"slices": kind(hu.astype(np.float32)), "spacing_mm": kind(np.ones((len(hu), 2)))}


def answers(made):
    kidney, tumor = made["kidney_probability"], made["tumor_probability"]
    prob = np.stack([1 - kidney - tumor, kidney, tumor], axis=-1)
    certain = np.ptp(np.sort(prob, axis=-1)[..., 1:], axis=-1) > 1e-4
    np.testing.assert_array_equal(made["labels"][certain], prob.argmax(axis=-1)[certain])
    return prob


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", [through_keras, through_onnx, through_saved_model, through_onnx_export])
def test_every_engine_follows_the_rule(engine, kind, model):
    kept = np.array(KINDS[kind], bool)
    hu, settings = slices(kept), model.config.prediction
    every, plain = (
        open_predictor([model], replace(settings, views_from=0.0, **more), "keras")(hu)
        for more in ({}, {"flips": "none", "zooms": (1.0,)})
    )
    assert (np.abs(every - plain).max(axis=(1, 2, 3)) > 1e-3).all()  # the other views count
    made = engine(model, hu)
    np.testing.assert_allclose(made, np.where(kept[:, None, None, None], every, plain), atol=2e-6)


def counting(seen, prob):
    def network(batch):
        seen.append(len(batch))
        return prob(batch)

    return network


def two_classes(batch):
    made = np.float32(batch[..., :1]) / 1000
    return np.concatenate([1 - made, made], axis=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_sees_less(kind):
    kept, seen = KINDS[kind], []
    settings = PredictionConfig(flips="both", zooms=(1.0, 1.25), views_from=0.05)
    combined([(counting(seen, two_classes), (1, 1))], settings, "softmax", SIZE)(slices(kept)[..., None].clip(0))
    assert sum(seen) == len(kept) + 7 * sum(kept)


def test_the_limit_counts_and_an_ensemble_decides_by_its_mean():
    batch = np.zeros((3, SIZE, SIZE, 1), np.float32)
    batch[:, 4, 4, 0] = 10, 20, 40  # probabilities of .01, .02, .04 in the first network, none in the second
    for limit, expected in ((0.0, 3), (0.004, 3), (0.009, 2), (0.011, 1), (0.5, 0)):
        seen = []
        networks = [(counting(seen, two_classes), (1, 1)), (lambda one: two_classes(0 * one), (1, 1))]
        settings = PredictionConfig(flips="left_right", views_from=limit)
        made = combined(networks, settings, "softmax", SIZE)(batch)
        assert sum(seen) == 3 + expected
        np.testing.assert_allclose(made.sum(axis=-1), 1, atol=1e-6)
        assert made[0, 4, 4, 1] == pytest.approx(0.005)


def test_class_odds_count_before_the_limit():
    batch = np.zeros((1, SIZE, SIZE, 1), np.float32)
    batch[0, 4, 4, 0] = 10
    for odds, expected in (((1, 1, 1), 1), ((1, 1, 8), 2)):
        seen = []

        def network(one, seen=seen):
            seen.append(len(one))
            tumor = one / 1000
            return np.concatenate([1 - tumor, 0 * tumor, tumor], axis=-1)

        settings = PredictionConfig(flips="left_right", views_from=0.05, odds=odds)
        combined([(network, (1, 1, 1))], settings, "softmax", SIZE)(batch)
        assert sum(seen) == expected


def test_weights_are_in_an_export_once(model):
    with_all, with_some = (
        build_onnx(replace(one, config=replace(one.config, prediction=settings)), {})
        for one, settings in (
            (model.open(), replace(model.config.prediction, views_from=0.0)),
            (model.open(), model.config.prediction),
        )
    )
    kernel = np.float32([0.0, 0.1, 0.2]).tobytes()
    assert with_all.count(kernel) == with_some.count(kernel) == 1


def test_settings_and_records(model):
    assert all(preset.prediction.views_from == 0 for preset in PRESETS.values())  # a run of before can resume
    assert find_source(STARTER).config.prediction.views_from > 0
    for wrong in (-0.1, 1.0):
        with pytest.raises(InputError, match=r"setting views_from: found"):
            PredictionConfig(views_from=wrong)
    records = [made_by(["a"], model.grid, PredictionConfig(views_from=limit))["settings"] for limit in (0.0, 0.01)]
    assert "views_from" not in records[0] and records[1]["views_from"] == 0.01  # older records lack it
