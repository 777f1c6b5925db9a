"""Focal Tversky Loss against golden figures, the formula and hand-worked numbers; gradients at every corner."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kidney_seg.config import LossConfig, ModelConfig
from kidney_seg.losses import FocalTversky, as_regions, build_losses, focal_tversky, tversky_index


def one_hot(labels, classes: int = 3) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[np.asarray(labels)]


def test_golden_figures(golden):
    for index, figures in enumerate(golden["values"]["focal_tversky"]):
        truth, predicted = golden[f"ftl_t_{index}"].reshape(1, -1, 1), golden[f"ftl_p_{index}"].reshape(1, -1, 1)
        assert float(tversky_index(truth, predicted)[0]) == pytest.approx(figures["tversky_index"], abs=1e-6)
        assert float(focal_tversky(truth, predicted)) == pytest.approx(figures["focal_tversky"], abs=1e-6)


def test_by_hand():
    # kidney: TP 1, FN 1, FP 0 -> TI = 2 / (2 + .7); tumor: TP 0, FN 1, FP 1 -> TI = 1 / (1 + .7 + .3)
    truth = one_hot([[[1, 1, 2, 0]]])
    predicted = one_hot([[[1, 0, 0, 2]]])
    kidney, tumor = 1 - 2 / 2.7, 1 - 1 / 2
    expected = (kidney**0.75 + tumor**0.75) / 2
    assert float(FocalTversky()(truth, predicted)) == pytest.approx(expected, abs=1e-6)
    # regions: kidney+tumor TP 1, FN 2, FP 1 -> TI = 2 / (2 + 1.4 + .3); tumor as before
    regions = float(FocalTversky(target="regions")(truth, predicted))
    assert regions == pytest.approx(((1 - 2 / 3.7) ** 0.75 + tumor**0.75) / 2, abs=1e-6)
    # with the background: TP 0, FN 1, FP 2 -> TI = 1 / (1 + .7 + .6)
    with_background = float(FocalTversky(background=True)(truth, predicted))
    assert with_background == pytest.approx((2 * expected + (1 - 1 / 2.3) ** 0.75) / 3, abs=1e-6)
    plain = float(FocalTversky(exponent=1.0)(truth, predicted))
    assert plain == pytest.approx((kidney + tumor) / 2, abs=1e-6)


def test_alpha_weighs_false_negatives():
    truth = np.array([1.0, 1.0, 0.0, 0.0]).reshape(1, 2, 2, 1)
    missed, invented = np.array([1.0, 0, 0, 0]).reshape(1, 2, 2, 1), np.array([1.0, 1, 1, 0]).reshape(1, 2, 2, 1)
    assert float(focal_tversky(truth, missed, alpha=0.7)) > float(focal_tversky(truth, missed, alpha=0.3))
    assert float(focal_tversky(truth, invented, alpha=0.7)) < float(focal_tversky(truth, invented, alpha=0.3))


def test_sums_run_over_the_whole_batch():
    truth, predicted = one_hot([[[1, 2]], [[0, 0]]]), one_hot([[[1, 2]], [[2, 0]]])
    expected = 0.5 * (0.3 / (1 + 0.3 + 1)) ** 0.75  # kidney perfect; tumor TP 1, FP 1 over both slices
    assert float(FocalTversky()(truth, predicted)) == pytest.approx(expected, abs=1e-6)


def test_cross_entropy_is_added():
    truth, predicted = one_hot([[[0, 1]]]), np.array([[[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]]], np.float32)
    added = float(FocalTversky(cross_entropy=2.0)(truth, predicted)) - float(FocalTversky()(truth, predicted))
    assert added == pytest.approx(-(np.log(0.5) + np.log(0.8)), abs=1e-5)


def test_as_regions():
    probabilities = np.array([0.5, 0.3, 0.2], np.float32)
    np.testing.assert_allclose(as_regions(probabilities), [0.5, 0.2], atol=1e-7)


CORNERS = {
    "empty": np.zeros((2, 8, 8), int),
    "kidney everywhere": np.ones((2, 8, 8), int),
    "tumor everywhere": np.full((2, 8, 8), 2),
    "one voxel": np.pad([[[2]]], ((0, 1), (3, 4), (3, 4))),
    "mixed": np.arange(128).reshape(2, 8, 8) % 3,
}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("target", ["classes", "regions"])
@pytest.mark.parametrize("answer", ["perfect", "inverted", "unsure"])
@pytest.mark.parametrize("corner", CORNERS)
def test_finite_gradients_at_every_corner(corner, answer, target, dtype):
    truth = one_hot(CORNERS[corner])
    sign = {"perfect": 1.0, "inverted": -1.0, "unsure": 0.0}[answer]
    logits = tf.Variable(tf.cast(sign * 1e4 * (2 * truth - 1), dtype))
    with tf.GradientTape() as tape:
        loss = FocalTversky(target=target)(truth, tf.nn.softmax(logits))
    gradient = tape.gradient(loss, logits)
    assert 0.0 <= float(loss) <= 1.0
    assert np.isfinite(np.asarray(tf.cast(gradient, tf.float32))).all()


@pytest.mark.parametrize("corner", CORNERS)
def test_no_wrong_voxel_is_without_gradient(corner):
    truth = one_hot(CORNERS[corner])
    predicted = tf.Variable(one_hot((CORNERS[corner] + 1) % 3))
    with tf.GradientTape() as tape:
        loss = FocalTversky()(truth, predicted)
    gradient = np.asarray(tape.gradient(loss, predicted))[..., 1:]
    wrong = (np.asarray(predicted) != truth)[..., 1:]
    assert (gradient[wrong] != 0).all()


def test_large_half_precision_batch_does_not_overflow():
    truth = np.zeros((4, 512, 512, 3), np.float16)
    truth[..., 1] = 1  # a million kidney voxels; float16 ends at 65504
    assert float(FocalTversky()(truth, truth)) == 0.0
    assert float(FocalTversky()(truth, truth[..., [1, 0, 2]])) == pytest.approx(0.5, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.7, 0.95]), st.sampled_from([0.75, 1.0, 4 / 3]))
def test_equals_the_formula_in_double_precision(seed, alpha, exponent):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (2, 5, 7, 2)).astype(np.float64)
    predicted = rng.random((2, 5, 7, 2)) ** rng.uniform(0.2, 5)
    axes = (0, 1, 2)
    true_positive = (truth * predicted).sum(axes)
    errors = alpha * (truth * (1 - predicted)).sum(axes) + (1 - alpha) * ((1 - truth) * predicted).sum(axes)
    expected = np.mean((1 - (true_positive + 1) / (true_positive + errors + 1)) ** exponent)
    assert float(focal_tversky(truth, predicted, alpha, exponent)) == pytest.approx(expected, abs=1e-5)
    order = rng.permutation(2)
    turned = float(focal_tversky(truth[order], predicted[order], alpha, exponent))
    assert turned == pytest.approx(expected, abs=1e-5)


def test_missed_tumor_costs_more_than_a_found_one():
    truth = CORNERS["one voxel"]
    found, missed = one_hot(truth), one_hot(np.zeros_like(truth))
    assert float(FocalTversky()(one_hot(truth), missed)) > float(FocalTversky()(one_hot(truth), found)) == 0.0


def test_serializes():
    loss = FocalTversky(alpha=0.6, target="regions", cross_entropy=0.5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.settings == loss.settings
    truth, predicted = one_hot(CORNERS["mixed"]), one_hot(CORNERS["one voxel"])
    assert float(again(truth, predicted)) == float(loss(truth, predicted))


def test_build_losses_follows_the_settings():
    losses, weights = build_losses(LossConfig(last_head="tversky", alpha=0.6), ModelConfig())
    assert weights == {"head1": 0.2, "head2": 0.2, "head3": 0.2, "head4": 0.4}
    assert [losses[head].settings["exponent"] for head in losses] == [0.75, 0.75, 0.75, 1.0]
    assert {loss.settings["alpha"] for loss in losses.values()} == {0.6}
    losses, weights = build_losses(LossConfig(), ModelConfig(deep_supervision=False))
    assert list(losses) == ["head4"] and weights == {"head4": 0.4}
