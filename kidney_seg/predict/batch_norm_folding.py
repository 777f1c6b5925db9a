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

    Each is taken into the convolution before it, as all of `kidney_seg.model` can be; one that does not follow a plain
    convolution which nothing else sees stays. The weights are those of now: changes of `model` come too late.
    """
    norms = {layer.input._keras_history.operation.name: layer for layer in model.layers if _can_be_taken_in(layer)}
    gone = {norm.name for norm in norms.values()}

    def without(layer: keras.Layer) -> keras.Layer:
        if layer.name in gone:
            return _Nothing(dtype=layer.dtype_policy, name=layer.name)
        return type(layer).from_config(layer.get_config())

    made = keras.models.clone_model(model, clone_function=without)
    for layer in model.layers:
        if layer.weights and layer.name not in gone:
            values = layer.get_weights()
            made.get_layer(layer.name).set_weights(
                _taken_in(values, norms[layer.name]) if layer.name in norms else values
            )
    return made


def _can_be_taken_in(layer: keras.Layer) -> bool:
    if not isinstance(layer, keras.layers.BatchNormalization) or not (layer.scale and layer.center):
        return False
    before = layer.input._keras_history.operation
    plain = (
        isinstance(before, keras.layers.Conv2D) and before.use_bias and before.activation is keras.activations.linear
    )
    return plain and len(before._outbound_nodes) == 1


def _taken_in(convolution: list[np.ndarray], norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    kernel, bias = (value.astype(np.float64) for value in convolution)
    gamma, beta, mean, variance = (value.astype(np.float64) for value in norm.get_weights())
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return [kernel * factor, (bias - mean) * factor + beta]
