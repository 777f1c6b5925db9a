"""Focal Tversky Loss against golden figures, the formula and hand-worked numbers; gradients at every corner."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_prep.errors import InputError
from kidney_seg.config.loss import LossConfig
from kidney_seg.config.model import ModelConfig
from kidney_seg.losses.functional import as_regions, focal_tversky, soft_dice_loss, tversky_index
from kidney_seg.losses.keras_losses import CrossEntropy, DiceCrossEntropy, FocalTversky, build_losses


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
    added = float(FocalTversky(weight_cross_entropy=2.0)(truth, predicted)) - float(FocalTversky()(truth, predicted))
    assert added == pytest.approx(-(np.log(0.5) + np.log(0.8)), abs=1e-5)


def test_as_regions():
    probabilities = np.array([0.5, 0.3, 0.2], np.float32)
    np.testing.assert_allclose(as_regions(probabilities), [0.5, 0.2], atol=1e-7)


DTYPES = ["float32", "float16", "bfloat16"]
CORNERS = {
    "empty": np.zeros((2, 8, 8), int),
    "kidney everywhere": np.ones((2, 8, 8), int),
    "tumor everywhere": np.full((2, 8, 8), 2),
    "one voxel": np.pad([[[2]]], ((0, 1), (3, 4), (3, 4))),
    "mixed": np.arange(128).reshape(2, 8, 8) % 3,
}


@pytest.mark.parametrize("dtype", DTYPES)
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


def test_large_half_precision_batch_does_not_overflow():
    truth = np.zeros((4, 512, 512, 3), np.float16)
    truth[..., 1] = 1  # a million kidney voxels; float16 ends at 65504
    assert float(FocalTversky()(truth, truth)) == 0.0
    assert float(FocalTversky()(truth, truth[..., [1, 0, 2]])) == pytest.approx(0.5, abs=1e-3)


def make_labels(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    labels = np.zeros(shape, int)
    if kind == "full":
        labels[...] = rng.integers(1, 3)
    elif kind == "single pixel":
        labels[tuple(rng.integers(shape))] = 2
    elif kind == "mixed":
        labels[...] = rng.integers(0, 3, shape)
    elif kind == "some slices":
        labels[:1, : shape[1] // 2] = 1
        labels[:1, : shape[1] // 4] = 2
    return labels


KINDS = st.sampled_from(["empty", "full", "single pixel", "mixed", "some slices"])
ANSWERS = st.sampled_from(["perfect", "inverted", "single pixel", "unsure", "random", "nothing", "tumor everywhere"])
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20))
SETTINGS = st.fixed_dictionaries(
    {
        "alpha": st.sampled_from([0.3, 0.7, 0.95]),
        "exponent": st.sampled_from([0.5, 0.75, 1.0, 4 / 3]),
        "smoothing": st.sampled_from([1e-3, 1.0, 100.0]),
        "target": st.sampled_from(["classes", "regions"]),
        "background": st.booleans(),
        "sums": st.sampled_from(["batch", "sample"]),
    }
)


def make_logits(answer: str, truth: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    if answer == "single pixel":
        truth = one_hot(make_labels("single pixel", truth.shape[:-1], rng))
    elif answer == "nothing":
        truth = one_hot(np.zeros(truth.shape[:-1], int))
    elif answer == "tumor everywhere":
        truth = one_hot(np.full(truth.shape[:-1], 2))
    sign = {"inverted": -1.0, "unsure": 0.0}.get(answer, 1.0)
    if answer == "random":
        return (scale * rng.standard_normal(truth.shape)).astype(np.float32)
    return np.float32(sign * scale) * (2 * truth - 1)


def assert_sound(truth: np.ndarray, logits: np.ndarray, dtype: str, loss: FocalTversky) -> None:
    logits = tf.Variable(tf.cast(logits, dtype))
    with tf.GradientTape() as tape:
        value = loss(truth, tf.nn.softmax(logits))
    gradient = tape.gradient(value, logits)
    assert 0.0 <= float(value) <= 1.0
    assert np.isfinite(np.asarray(tf.cast(gradient, tf.float32))).all()


def test_cross_entropy_of_float16_has_finite_gradients() -> None:
    truth = one_hot(make_labels("full", (1, 1, 1), np.random.default_rng(0)))
    logits = tf.Variable(tf.cast(30.0 - 60.0 * truth, "float16"))  # the truth has probability 0
    with tf.GradientTape() as tape:
        value = FocalTversky(weight_cross_entropy=1.0)(truth, tf.nn.softmax(logits))
    assert 10 < float(value) < 20
    assert np.isfinite(np.asarray(tf.cast(tape.gradient(value, logits), tf.float32))).all()


@settings(max_examples=150, deadline=None)
@example("empty", "perfect", (1, 1, 1), {"exponent": 0.5, "smoothing": 0.001}, 30.0, "float16", 0)  # slope of 3e5
@given(
    KINDS, ANSWERS, SHAPES, SETTINGS, st.sampled_from([1.0, 30.0, 1e4]), st.sampled_from(DTYPES), st.integers(0, 10**6)
)
def test_always_between_0_and_1_with_finite_gradients(kind, answer, shape, own, scale, dtype, seed):
    rng = np.random.default_rng(seed)
    truth = one_hot(make_labels(kind, shape, rng))
    assert_sound(truth, make_logits(answer, truth, scale, rng), dtype, FocalTversky(**own))


@pytest.mark.parametrize(
    ("kind", "answer", "dtype"),
    [
        ("empty", "tumor everywhere", "float32"),
        ("full", "perfect", "float16"),
        ("mixed", "inverted", "bfloat16"),
        ("single pixel", "nothing", "float16"),
    ],
)
def test_a_large_batch_is_as_sound(kind, answer, dtype):
    rng = np.random.default_rng(0)
    truth = one_hot(make_labels(kind, (16, 512, 512), rng))
    assert_sound(truth, make_logits(answer, truth, 1e4, rng), dtype, FocalTversky())


def assert_wrong_voxels_have_a_slope(labels: np.ndarray, said: np.ndarray, loss: FocalTversky) -> None:
    truth, predicted = one_hot(labels), tf.Variable(one_hot(said))
    with tf.GradientTape() as tape:
        value = loss(truth, predicted)
    gradient = np.asarray(tape.gradient(value, predicted))[..., 1:]
    wrong = (np.asarray(predicted) != truth)[..., 1:]
    # downhill is toward the truth: more of a class that is missed, less of one that is invented
    assert (np.sign(gradient[wrong]) == np.where(truth[..., 1:][wrong] == 1, -1, 1)).all()


@settings(max_examples=60, deadline=None)
@given(KINDS, KINDS, SHAPES, st.sampled_from([0.5, 0.75, 1.0, 4 / 3]), st.sampled_from(["batch", "sample"]))
def test_no_wrong_voxel_is_without_slope(kind, said, shape, exponent, sums):
    rng = np.random.default_rng(1)
    labels, said = make_labels(kind, shape, rng), make_labels(said, shape, rng)
    assert_wrong_voxels_have_a_slope(labels, said, FocalTversky(exponent=exponent, sums=sums))


@pytest.mark.parametrize("kind", ["empty", "single pixel", "mixed"])
def test_no_wrong_voxel_of_a_large_batch_is_without_slope(kind):
    labels = make_labels(kind, (16, 512, 512), np.random.default_rng(0))
    assert_wrong_voxels_have_a_slope(labels, (labels + 2) % 3, FocalTversky())


def in_double_precision(truth, predicted, alpha, exponent, smoothing, sums) -> float:
    truth, predicted = truth.astype(np.float64), predicted.astype(np.float64)
    axes = (0, 1, 2) if sums == "batch" else (1, 2)
    true_positive = (truth * predicted).sum(axes)
    errors = alpha * (truth * (1 - predicted)).sum(axes) + (1 - alpha) * ((1 - truth) * predicted).sum(axes)
    index = (true_positive + smoothing) / (true_positive + errors + smoothing)
    return float(np.mean((1 - index) ** exponent))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    SHAPES,
    st.sampled_from([0.3, 0.7, 0.95]),
    st.sampled_from([0.75, 1.0, 4 / 3]),
    st.sampled_from([1e-3, 1.0, 100.0]),
    st.sampled_from(["batch", "sample"]),
)
def test_equals_the_formula_in_double_precision(seed, shape, alpha, exponent, smoothing, sums):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (*shape, 2)).astype(np.float32)
    predicted = (rng.random((*shape, 2)) ** rng.uniform(0.2, 5)).astype(np.float32)
    own = (alpha, exponent, smoothing, sums)
    expected = in_double_precision(truth, predicted, *own)
    assert float(focal_tversky(truth, predicted, *own)) == pytest.approx(expected, abs=1e-5)
    order = rng.permutation(len(truth))
    turned = float(focal_tversky(truth[order], predicted[order], *own))
    assert turned == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("share", [1e-6, 0.01, 0.5])
def test_a_large_batch_equals_the_formula_in_double_precision(share):
    rng = np.random.default_rng(0)
    truth = (rng.random((16, 512, 512, 1), np.float32) < share).astype(np.float32)
    predicted = rng.random(truth.shape, np.float32) ** 3
    for sums in ("batch", "sample"):
        own = (0.7, 0.75, 1.0, sums)
        expected = in_double_precision(truth, predicted, *own)
        assert float(focal_tversky(truth, predicted, *own)) == pytest.approx(expected, abs=1e-5)
        assert float(focal_tversky(truth[::-1], predicted[::-1], *own)) == pytest.approx(expected, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(SHAPES, SETTINGS, st.integers(0, 10**6))
def test_a_missed_tumor_costs_more_than_a_found_one(shape, own, seed):
    rng = np.random.default_rng(seed)
    labels = make_labels("mixed", shape, rng)
    labels[tuple(rng.integers(shape))] = 2
    found = np.where(rng.random(shape) < 0.3, rng.integers(0, 2, shape), labels)  # errors elsewhere are the same
    found[labels == 2] = 2
    missed = np.where(labels == 2, rng.integers(0, 2, shape), found)
    loss = FocalTversky(**own)
    assert float(loss(one_hot(labels), one_hot(missed))) > float(loss(one_hot(labels), one_hot(found)))


def test_sums_over_each_sample():
    truth, predicted = one_hot([[[1, 2]], [[0, 0]]]), one_hot([[[1, 2]], [[2, 0]]])
    # first sample perfect; second: kidney absent in both, tumor TP 0, FP 1 -> 1 - TI = .3 / 1.3
    expected = (0 + 0 + 0 + (0.3 / 1.3) ** 0.75) / 4
    assert float(FocalTversky(sums="sample")(truth, predicted)) == pytest.approx(expected, abs=1e-6)
    assert tversky_index(truth, predicted, sums="sample").shape == (2, 3)


def test_dice_and_cross_entropy_by_hand():
    truth = one_hot([[[1, 1, 2, 0]]])
    said = np.array([[[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.6, 0.3, 0.1]]]], np.float32)
    kidney = 1 - (2 * 1.05 + 1) / (2 * 1.05 + 0.95 + 0.5 + 1)
    tumor = 1 - (2 * 0.6 + 1) / (2 * 0.6 + 0.4 + 0.45 + 1)
    entropy = -np.log([0.25, 0.8, 0.6, 0.6]).mean()
    assert float(soft_dice_loss(truth[..., 1:], said[..., 1:])) == pytest.approx((kidney + tumor) / 2, abs=1e-6)
    assert float(DiceCrossEntropy()(truth, said)) == pytest.approx((kidney + tumor) / 2 + entropy, abs=1e-6)
    assert float(CrossEntropy()(truth, said)) == pytest.approx(entropy, abs=1e-6)
    keras_own = keras.losses.CategoricalCrossentropy()(truth, said)
    assert float(CrossEntropy()(truth, said)) == pytest.approx(float(keras_own), abs=1e-6)
    binary = keras.losses.BinaryCrossentropy()(truth, said)
    assert float(CrossEntropy(activation="sigmoid")(truth, said)) == pytest.approx(float(binary), abs=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("answer", ["perfect", "inverted", "unsure", "tumor everywhere"])
def test_cross_entropy_is_finite_at_every_corner(activation, answer):
    rng = np.random.default_rng(0)
    truth = one_hot(CORNERS["mixed"])
    logits = tf.Variable(make_logits(answer, truth, 1e4, rng))
    predicted = tf.Variable(tf.nn.softmax(logits) if activation == "softmax" else tf.sigmoid(logits))
    with tf.GradientTape(persistent=True) as tape:
        value = CrossEntropy(activation=activation)(truth, predicted)
        through = CrossEntropy(activation=activation)(
            truth, tf.nn.softmax(logits) if activation == "softmax" else tf.sigmoid(logits)
        )
    assert 0.0 <= float(value) < 1e8
    slope = np.asarray(tape.gradient(value, predicted))
    assert np.isfinite(slope).all() and np.isfinite(np.asarray(tape.gradient(through, logits))).all()
    wrong = (truth == 1) & (np.asarray(predicted) < 0.5)
    assert (slope[wrong] < 0).all()


@pytest.mark.parametrize("refused", [lambda: FocalTversky(gamma=4 / 3), lambda: focal_tversky(0.0, 0.0, gamma=4 / 3)])
def test_gamma_is_refused_with_what_to_give_instead(refused):
    with pytest.raises(InputError, match=r"exponent=0.75 for that, or exponent=1.333 if the power is meant"):
        refused()


ALL_LOSSES = [
    FocalTversky(alpha=0.6, target="regions", weight_cross_entropy=0.5, sums="sample"),
    FocalTversky(exponent=1.0, background=True, activation="sigmoid"),
    DiceCrossEntropy(smoothing=2.0, target="regions"),
    CrossEntropy(activation="sigmoid"),
]


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=lambda loss: loss.name)
def test_serializes(loss):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss) and again.settings == loss.settings
    truth = one_hot(CORNERS["mixed"])
    predicted = np.asarray(tf.nn.softmax(np.random.default_rng(0).standard_normal(truth.shape)))
    assert float(again(truth, predicted)) == float(loss(truth, predicted)) > 0


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_loss_counts_in_float32(loss, dtype):
    truth = one_hot(CORNERS["mixed"])
    predicted = tf.cast(tf.nn.softmax(3.0 * truth - 1.0), dtype)
    made = loss(tf.cast(truth, dtype), predicted)
    assert made.dtype == tf.float32
    assert float(made) == pytest.approx(float(loss(truth, tf.cast(predicted, tf.float32))), abs=1e-6)


def test_build_losses_follows_the_settings():
    losses, weights = build_losses(LossConfig(last_head="tversky", alpha=0.6), ModelConfig())
    assert weights == {"head1": 0.2, "head2": 0.2, "head3": 0.2, "head4": 0.4}
    assert [losses[head].settings["exponent"] for head in losses] == [0.75, 0.75, 0.75, 1.0]
    assert {loss.settings["alpha"] for loss in losses.values()} == {0.6}
    losses, weights = build_losses(LossConfig(), ModelConfig(deep_supervision=False))
    assert list(losses) == ["head4"] and weights == {"head4": 0.4}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("focal_tversky", FocalTversky),
        ("tversky", FocalTversky),
        ("dice_cross_entropy", DiceCrossEntropy),
        ("cross_entropy", CrossEntropy),
    ],
)
def test_the_loss_is_chosen_by_a_setting(name, kind):
    config = LossConfig(loss_function=name, sums="sample", background=True, smoothing=2.0)
    losses, _ = build_losses(config, ModelConfig(activation="sigmoid"))
    assert {type(loss) for loss in losses.values()} == {kind}
    for loss in losses.values():
        own = loss.settings
        assert (own["sums"], own["background"], own["activation"]) == ("sample", True, "sigmoid")
        assert own.get("smoothing", 2.0) == 2.0
        assert own.get("exponent") == {"focal_tversky": 0.75, "tversky": 1.0}.get(name)


def test_keras_tversky_by_the_documented_settings():
    """Its docstring says that alpha weighs false positives; its code weighs false negatives by it, as here."""
    rng = np.random.default_rng(3)
    truth = one_hot(rng.integers(0, 3, (4, 8, 8)))
    predicted = rng.dirichlet(np.ones(3), (4, 8, 8)).astype(np.float32)
    theirs = keras.losses.Tversky(alpha=0.7, beta=0.3, axis=(0, 1, 2), reduction=None)(truth, predicted)
    settings = LossConfig(loss_function="tversky", alpha=0.7, smoothing=1e-6, background=True)
    losses, _ = build_losses(settings, ModelConfig(size=16, deep_supervision=False))
    assert float(losses["head4"](truth, predicted)) == pytest.approx(float(np.mean(theirs)), abs=1e-6)
    swapped = FocalTversky(alpha=0.3, exponent=1.0, smoothing=1e-6, background=True)
    assert abs(float(swapped(truth, predicted)) - float(np.mean(theirs))) > 1e-4


@pytest.mark.parametrize("sums", ["sample", "batch"])
def test_monai_tversky_by_the_documented_settings(sums):
    """Its formula, on [batch, channels, ...]: (TP + nr) / (TP + alpha FP + beta FN + dr), then the mean."""
    rng = np.random.default_rng(4)
    truth = one_hot(rng.integers(0, 3, (4, 8, 8)))
    predicted = rng.dirichlet(np.ones(3), (4, 8, 8)).astype(np.float32)
    g, p, smooth = truth.transpose(0, 3, 1, 2), predicted.transpose(0, 3, 1, 2), 1e-5
    axes = (0, 2, 3) if sums == "batch" else (2, 3)  # batch=True, or MONAI's default
    tp, fp, fn = (part.sum(axis=axes) for part in (g * p, (1 - g) * p, g * (1 - p)))
    theirs = np.mean(1 - (tp + smooth) / (tp + 0.3 * fp + 0.7 * fn + smooth))
    ours = FocalTversky(alpha=0.7, exponent=1.0, smoothing=1e-5, background=True, sums=sums)
    assert float(ours(truth, predicted)) == pytest.approx(theirs, abs=1e-5)
