"""A network without its normalizations gives what it gave with them."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kidney_seg.config.presets import PRESETS
from kidney_seg.model.attention_unet import build_model
from kidney_seg.predict.batch_norm_folding import folded

pytestmark = pytest.mark.network


@pytest.mark.parametrize("settings", [[], ["decoder=inline"], ["gates=", "multi_scale_input=false", "input_slices=3"]])
def test_the_probabilities_are_the_same_and_the_model_stays_as_it_is(settings: list[str]) -> None:
    config = PRESETS["paper"].with_settings(["size=32", "width_factor=0.2", *settings])
    model = build_model(config.model)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights(
                [rng.normal(1, 0.3, shape), rng.normal(0, 1, shape), rng.normal(0, 1, shape), rng.gamma(2, 1, shape)]
            )
    before = [value.copy() for value in model.get_weights()]
    image = {"image": rng.normal(50, 80, (3, 32, 32, config.model.input_slices)).astype(np.float32)}
    made = folded(model)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in made.layers)
    expected = model(image, training=False)
    assert float(np.ptp(expected["head4"])) > 0.1
    for head, found in made(image, training=False).items():
        np.testing.assert_allclose(found, expected[head], atol=2e-5)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_normalization_that_cannot_be_taken_in_stays() -> None:
    layers, rng = keras.layers, np.random.default_rng(0)
    image = keras.Input((8, 8, 1))
    plain = layers.BatchNormalization(name="plain")(layers.Conv2D(2, 3, padding="same")(image))
    shared = layers.Conv2D(2, 3, padding="same")(plain)
    x = layers.Add()([layers.BatchNormalization(name="shared")(shared), shared])
    x = layers.BatchNormalization(name="activated")(layers.Conv2D(2, 3, activation="relu")(x))
    x = layers.BatchNormalization(name="without_bias")(layers.Conv2D(2, 3, use_bias=False)(x))
    x = layers.BatchNormalization(name="without_scale", scale=False)(layers.Conv2D(2, 1)(x))
    model = keras.Model(image, layers.BatchNormalization(name="alone")(layers.ReLU()(x)))
    model.set_weights([rng.uniform(0.2, 1, value.shape) for value in model.get_weights()])
    made = folded(model)
    left = [layer.name for layer in made.layers if isinstance(layer, layers.BatchNormalization)]
    assert left == ["shared", "activated", "without_bias", "without_scale", "alone"]
    pixels = rng.normal(0, 1, (2, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(made(pixels), model(pixels, training=False), rtol=1e-5)
