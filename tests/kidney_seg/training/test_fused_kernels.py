"""TensorFlow's own kernels train as Keras' layers do."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kidney_seg.config.presets import PRESETS
from kidney_seg.model.attention_unet import build_model
from kidney_seg.training.fused_kernels import FusedAdam, FusedNorm, with_fast_layers

pytestmark = pytest.mark.network

SMALL = PRESETS["paper"].with_settings(["size=32", "width_factor=0.2"])


def normalized(layer, norm: keras.layers.BatchNormalization, image: np.ndarray, weights: np.ndarray):
    """Return outputs in training, gradients of image, gamma and beta, and the moving averages afterwards."""
    image = tf.constant(image)
    with tf.GradientTape() as tape:
        tape.watch(image)
        outputs = layer(image, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * weights)
    gradients = tape.gradient(loss, [image, norm.gamma.value, norm.beta.value])
    return [np.asarray(tf.cast(value, tf.float32)) for value in (outputs, *gradients)] + [
        norm.moving_mean.numpy(),
        norm.moving_variance.numpy(),
    ]


@pytest.mark.parametrize(
    ("policy", "shape", "most"),
    [
        ("float32", (4, 9, 7, 5), 2e-5),
        ("float32", (1, 1, 1, 3), 2e-5),  # one value a channel: the variance is 0
        ("float32", (1, 2, 1, 3), 2e-5),
        ("mixed_bfloat16", (4, 8, 8, 5), 3e-2),
        ("mixed_float16", (4, 8, 8, 5), 4e-3),
    ],
)
def test_a_fused_normalization_is_keras_own(policy: str, shape: tuple[int, ...], most: float) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(3, 2, shape)
    weights = rng.normal(0, 1, shape).astype(np.float32)
    found = []
    for fused in (False, True):
        norm = keras.layers.BatchNormalization(momentum=0.9, dtype=policy)
        norm.build((None, *shape[1:]))
        count = shape[-1]
        norm.set_weights([np.linspace(0.5, 2, count), np.linspace(-1, 1, count), np.ones(count), np.full(count, 2.0)])
        layer = FusedNorm(norm) if fused else norm
        found.append(normalized(layer, norm, image.astype(norm.compute_dtype), weights))
        again = np.asarray(tf.cast(layer(tf.zeros(shape, norm.compute_dtype), training=False), tf.float32))
        found[-1].append(again)
    for ours, theirs in zip(*found, strict=True):
        scale = max(1.0, float(np.abs(theirs).max()))
        np.testing.assert_allclose(ours, theirs, atol=most * scale)


def test_fused_adam_goes_where_keras_adam_goes() -> None:
    paths = []
    for kind in (keras.optimizers.Adam, FusedAdam):
        variable = keras.Variable(np.linspace(-2, 2, 7, dtype=np.float32))
        optimizer = kind(0.05, global_clipnorm=0.5)
        optimizer.build([variable])
        for step in range(30):
            optimizer.apply([tf.cos(tf.range(7.0) + step) + 0.1 * variable.value], [variable])
        paths.append([variable.numpy(), *(value.numpy() for value in optimizer.variables)])
    for ours, theirs in zip(*paths, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_fused_network_has_the_same_variables_and_leaves_the_other_as_it_is() -> None:
    model = build_model(SMALL.model)
    kinds = [type(layer) for layer in model.layers]
    fused = with_fast_layers(model)
    assert all(one is other for one, other in zip(model.variables, fused.variables, strict=True))
    trained = zip(model.trainable_variables, fused.trainable_variables, strict=True)
    assert all(one is other for one, other in trained)
    assert sum(isinstance(layer, FusedNorm) for layer in fused.layers) == kinds.count(keras.layers.BatchNormalization)
    assert [type(layer) for layer in model.layers] == kinds and list(fused.output) == list(model.output)
    image = {"image": np.random.default_rng(0).normal(50, 80, (2, 32, 32, 1)).astype(np.float32)}
    for head, expected in model(image, training=False).items():
        np.testing.assert_array_equal(fused(image, training=False)[head], expected)
    expected = model(image, training=True)
    for head, found in fused(image, training=True).items():
        np.testing.assert_allclose(found, expected[head], atol=1e-4)


def test_normalizations_that_the_kernel_cannot_do_stay_keras_own() -> None:
    layers = keras.layers
    image = keras.Input((8, 8, 2))
    x = layers.BatchNormalization(name="fused")(image)
    x = layers.BatchNormalization(name="rows", axis=1)(layers.BatchNormalization(name="no_scale", scale=False)(x))
    x = layers.BatchNormalization(name="no_offset", center=False)(x)
    model = keras.Model(image, layers.BatchNormalization(name="flat")(layers.Flatten()(x)))
    made = with_fast_layers(model)
    assert [layer.name for layer in made.layers if isinstance(layer, FusedNorm)] == ["fused"]
    pixels = np.random.default_rng(0).normal(0, 1, (4, 8, 8, 2)).astype(np.float32)
    expected = model(pixels, training=True)
    np.testing.assert_allclose(made(pixels, training=True), expected, atol=1e-4)
