"""A network without its normalizations gives what it gave with them."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kidney_seg.config import PRESETS
from kidney_seg.folded import folded
from kidney_seg.model import build_model


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


def test_a_normalization_that_cannot_be_taken_in_is_named() -> None:
    image = keras.Input((8, 8, 1))
    shared = keras.layers.Conv2D(2, 3)(image)
    outputs = keras.layers.Add()([keras.layers.BatchNormalization(name="alone")(shared), shared])
    with pytest.raises(ValueError, match="alone"):
        folded(keras.Model(image, outputs))
