"""Count the operations of a network's convolutions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def inference_operations(model: keras.Model, outputs: tuple[str, ...] | None = None) -> int:
    """Return the multiplications and additions of all convolutions for one slice, optionally only for some outputs.

    Per pixel of the output (for a transposed convolution: the input) 2 x kernel's pixels x channels in x channels out.
    Normalization, activations, pooling and biases are not counted: together a few percent.
    """
    return sum(_forward(layer) for layer in _layers(model, outputs))


def training_operations(model: keras.Model) -> int:
    """Return the same for one slice of a training step: forward, and twice that backward.

    Convolutions of the image itself need no gradient of their input.
    """
    return sum(_forward(layer) * (2 if _sees_the_image(layer) else 3) for layer in _layers(model, None))


def _layers(model: keras.Model, outputs: tuple[str, ...] | None) -> list[keras.layers.Layer]:
    import keras

    if outputs is not None:
        model = keras.Model(model.inputs, {name: model.output[name] for name in outputs})
    return [layer for layer in model.layers if hasattr(layer, "kernel")]


def _forward(layer: keras.layers.Layer) -> int:
    pixels = layer.input.shape[1:3] if type(layer).__name__ == "Conv2DTranspose" else layer.output.shape[1:3]
    return 2 * math.prod(pixels) * math.prod(layer.kernel.shape)


def _sees_the_image(layer: keras.layers.Layer) -> bool:
    """Return whether the layer's input is the image, windowed or pooled, with nothing to learn before it."""
    return layer.input._keras_history.operation.name in ("hu_window_clip", *(f"scale{level}" for level in range(2, 5)))
