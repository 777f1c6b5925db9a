"""The network in use without its batch normalizations: each is taken into the convolution before it.

In use a normalization is a factor and an offset a channel, and so is what follows from a convolution's kernel and bias.
The probabilities are the same but for rounding; on a processor three passes over every feature map are saved.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


class _Nothing(keras.layers.Layer):
    """What is left of a normalization; takes what the network's graph gives one."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return inputs


def folded(model: keras.Model) -> keras.Model:
    """Return a network of its own weights that gives what `model` gives in use, without batch normalizations.

    Every normalization must follow a convolution that nothing else sees, as in `kidney_seg.model`; ValueError if not.
    The weights are those of now: changes of `model` come too late.
    """
    norms = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            before = layer.input._keras_history.operation
            if not isinstance(before, keras.layers.Conv2D) or len(before._outbound_nodes) != 1:
                raise ValueError(f"{layer.name}: expected a convolution before it that nothing else sees")
            norms[before.name] = layer

    def without(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.layers.BatchNormalization):
            return _Nothing(dtype=layer.dtype_policy, name=layer.name)
        return type(layer).from_config(layer.get_config())

    made = keras.models.clone_model(model, clone_function=without)
    for layer in model.layers:
        if layer.weights and not isinstance(layer, keras.layers.BatchNormalization):
            values = layer.get_weights()
            made.get_layer(layer.name).set_weights(
                _taken_in(values, norms[layer.name]) if layer.name in norms else values
            )
    return made


def _taken_in(convolution: list[np.ndarray], norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    kernel, bias = (value.astype(np.float64) for value in convolution)
    gamma, beta, mean, variance = (value.astype(np.float64) for value in norm.get_weights())
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return [kernel * factor, (bias - mean) * factor + beta]
