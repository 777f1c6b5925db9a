"""Slices through a network that is known: batches, neighbors, parts of a scan, ensembles and flips."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from support.threshold_model import SIZE, threshold_model

from kidney_seg.config.prediction import FLIPS, PredictionConfig
from kidney_seg.predict import predictor as predictor_module
from kidney_seg.predict.averaging import combined
from kidney_seg.predict.predictor import Predictor, keras_forward, make_predictor

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(-100, 300, (5, SIZE, SIZE)).astype(np.int16)


def test_batches_do_not_change_the_answer(noise):
    model = threshold_model()
    expected = np.digitize(noise, (50, 150))
    certain = ~np.isin(noise, (50, 150))  # at the limits two classes are equal
    for slices_per_batch in (1, 2, 16):
        made = make_predictor(model, slices_per_batch)(noise)
        assert made.dtype == np.float32
        np.testing.assert_allclose(made.sum(axis=-1), 1, rtol=1e-6)
        np.testing.assert_array_equal(made.argmax(axis=-1)[certain], expected[certain])
    assert make_predictor(model)(noise[:0]).shape == (0, SIZE, SIZE, 3)


def test_single_slices_are_not_filled_up_and_traces_are_few(noise, monkeypatch):
    model, asked = threshold_model(), []
    predict = keras.Model.predict_on_batch
    monkeypatch.setattr(keras.Model, "predict_on_batch", lambda self, x: asked.append(len(x)) or predict(self, x))
    predictor = make_predictor(model, 4)
    expected = np.digitize(noise, (50, 150))
    certain = ~np.isin(noise, (50, 150))
    for count in (1, 1, 3, 2, 5, 1):
        made = predictor(noise[:count]).argmax(axis=-1)
        np.testing.assert_array_equal(made[certain[:count]], expected[:count][certain[:count]])
    assert asked == [1, 1, 4, 4, 4, 1, 1]


def test_pieces_of_a_batch_are_equally_large(monkeypatch):
    model, asked = threshold_model(), []
    monkeypatch.setattr(predictor_module, "_PIXELS_AT_ONCE", 12 * SIZE * SIZE)
    monkeypatch.setattr(predictor_module, "_has_gpu", lambda: False)
    predict = keras.Model.predict_on_batch
    monkeypatch.setattr(keras.Model, "predict_on_batch", lambda self, x: asked.append(len(x)) or predict(self, x))
    forward = keras_forward(model, 16)
    assert forward(np.zeros((16, SIZE, SIZE, 1), np.float32)).shape == (16, SIZE, SIZE, 3)
    assert asked == [8, 8]  # 12 and 4 were 24 with padding
    assert forward(np.zeros((0, SIZE, SIZE, 1), np.float32)).shape == (0, SIZE, SIZE, 3) and asked == [8, 8]


def seen() -> keras.Model:
    """A network that answers with the five slices that it sees."""
    image = keras.Input((SIZE, SIZE, 5), name="image")
    return keras.Model({"image": image}, {"head4": keras.layers.Activation("linear")(image)})


def test_neighbors_come_from_the_same_scan():
    slices = np.arange(6, dtype=np.int16)[:, None, None] * np.ones((1, SIZE, SIZE), np.int16)
    for slices_per_batch in (4, 16):
        made = make_predictor(seen(), slices_per_batch)(slices)[:, 3, 3]
        assert made[0].tolist() == [0, 0, 0, 1, 2]
        assert made[3].tolist() == [1, 2, 3, 4, 5]
        assert made[5].tolist() == [3, 4, 5, 5, 5]


def test_a_part_with_its_margin_is_what_the_whole_says():
    predictor = make_predictor(seen(), 4)
    assert predictor.margin == 2
    slices = np.random.default_rng(1).integers(0, 9, (9, SIZE, SIZE)).astype(np.int16)
    whole = predictor(slices)
    np.testing.assert_array_equal(predictor(slices[2:9], 2, 5), whole[4:7])
    np.testing.assert_array_equal(predictor(slices[:4], 0, 2), whole[:2])


def averaged(networks, size: int, flips: str = "none"):
    return combined([(one, (1, 1, 1)) for one in networks], PredictionConfig(flips=flips), "softmax", size)


def plain(network) -> Predictor:
    return Predictor(network, 4, 1, 2, 3)


def test_an_ensemble_is_the_mean_of_its_networks(noise):
    one, other = (make_predictor(threshold_model(kidney_hu=hu)) for hu in (50.0, 90.0))
    both = Predictor(averaged([one.forward, other.forward], SIZE), SIZE, 1, 3, 16)(noise)
    apart = np.abs(one(noise) - other(noise))
    assert apart.max() > 0.5  # they disagree
    np.testing.assert_allclose(both, (one(noise).astype(np.float64) + other(noise)) / 2, atol=1e-7)
    np.testing.assert_array_equal(Predictor(averaged([one.forward], SIZE), SIZE, 1, 3, 16)(noise), one(noise))


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("softmax", [0.6 / 1.7, 0.3 / 1.7, 0.8 / 1.7]),  # of the mean (.6, .3, .1), 8 times the odds of the last
        ("sigmoid", [0.6, 0.3, 0.8 / 1.7]),
    ],
)
def test_odds_are_those_of_the_average_whatever_the_models_have(activation, expected):
    def sure(batch):  # trained to (.5, .3, .2), saved with odds of 4
        own = [0.5 / 1.6, 0.3 / 1.6, 0.8 / 1.6] if activation == "softmax" else [0.5, 0.3, 0.5]
        return np.tile(np.float32(own), (*batch.shape[:3], 1))

    def blind(batch):
        return np.tile(np.float32([0.7, 0.3, 0]), (*batch.shape[:3], 1))

    networks = [(sure, (1, 1, 4)), (blind, (1, 1, 1))]
    made = combined(networks, PredictionConfig(odds=(1, 1, 8), flips="left_right"), activation, 4)(
        np.zeros((2, 4, 4, 1))
    )
    np.testing.assert_allclose(made, np.broadcast_to(expected, made.shape), rtol=1e-6)


@pytest.mark.parametrize(("flips", "share"), [("none", [1, 0, 0, 0]), ("left_right", [0.5, 0.5, 0, 0]), ("both", 0.25)])
def test_flips_are_taken_back_and_averaged(flips, share):
    # the network answers where its first pixel is: every view points at another corner
    def corner(batch: np.ndarray) -> np.ndarray:
        made = np.zeros((len(batch), 4, 4, 2), np.float32)
        made[:, 0, 0, 1] = batch[:, 0, 0, 0]
        return made

    slices = np.full((1, 4, 4), 1, np.int16)
    made = plain(averaged([corner], 4, flips))(slices)[0, ..., 1]
    corners = [made[0, 0], made[0, 3], made[3, 0], made[3, 3]]
    np.testing.assert_allclose(corners, np.broadcast_to(share, 4))
    assert np.isclose(made.sum(), 1)  # nothing elsewhere


def test_a_network_that_knows_no_sides_is_the_same_with_all_flips(noise):
    network = make_predictor(threshold_model()).forward
    expected = Predictor(network, SIZE, 1, 3, 16)(noise)
    for flips in FLIPS:
        np.testing.assert_allclose(
            Predictor(averaged([network], SIZE, flips), SIZE, 1, 3, 16)(noise), expected, atol=1e-6
        )
