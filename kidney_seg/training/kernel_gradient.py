"""The gradient of a convolution's kernel by matrix products over blocks of rows.

On wide rows with many channels, oneDNN's own primitive for it reaches a fifth of the speed of the other convolutions
under AVX2, and took half of a step of the preset `paper` (docs/explanation/speed.md). A block fits in a core's cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import tensorflow as tf

from kidney_seg.hardware import instructions

Tensor = Any  # of TensorFlow, which has no types

MOST_ROWS = 16  # of a block
LEAST_WORK = 5e8  # operations of the gradient, for one image: below it, oneDNN is as fast


class BlockwiseConv(keras.layers.Layer):
    """A convolution of 3 x 3 whose kernel gets its gradient block by block; `conv` keeps the variables."""

    def __init__(self, conv: keras.layers.Conv2D):
        super().__init__(name=conv.name, dtype=conv.dtype_policy)
        self.conv = conv
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """Return what `conv` returns for `inputs` [batch, height, width, channels]."""
        return self.conv.activation(_convolve(inputs, *map(tf.convert_to_tensor, (self.conv.kernel, self.conv.bias))))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the outputs."""
        return self.conv.compute_output_shape(input_shape)


def gains(layer: keras.Layer) -> bool:
    """Return whether a layer is a convolution whose kernel's gradient is faster block by block, on this processor."""
    if type(layer) is not keras.layers.Conv2D or layer.compute_dtype != "float32" or not layer.use_bias:
        return False
    plain = layer.strides == layer.dilation_rate == (1, 1) and layer.groups == 1
    if not (plain and layer.kernel_size == (3, 3) and layer.padding == "same"):
        return False
    if layer.data_format != "channels_last" or None in layer.input.shape[1:]:
        return False
    _, height, width, channels = layer.input.shape
    return 18 * height * width * channels * layer.filters >= LEAST_WORK and _is_measured_processor()


@cache
def _is_measured_processor() -> bool:
    """Return whether training runs on a CPU with AVX2 by oneDNN; with AVX-512 (AMD EPYC), both ways are as fast."""
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") not in ("1", "true"):
        return False
    measured = "avx2" in instructions() and "avx512f" not in instructions()
    return measured and not tf.config.list_physical_devices("GPU")


@tf.custom_gradient
def _convolve(inputs: Tensor, kernel: Tensor, bias: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
    def gradients(outer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        back = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(inputs), filter=kernel, out_backprop=outer, strides=[1, 1, 1, 1], padding="SAME"
        )
        return back, kernel_gradient(inputs, outer), tf.raw_ops.BiasAddGrad(out_backprop=outer)

    return tf.nn.bias_add(tf.nn.conv2d(inputs, kernel, 1, "SAME"), bias), gradients


def kernel_gradient(inputs: Tensor, outer: Tensor) -> Tensor:
    """Return the gradient of a 3 x 3 kernel, float32 [3, 3, channels in, channels out].

    Args:
        inputs: Of the convolution, float32 [batch, height, width, channels in]; all but the batch are known.
        outer: Gradient of its outputs, float32 [batch, height, width, channels out]. An empty batch gives zeros.
    """
    height, width, channels = inputs.shape[1:]
    filters = outer.shape[-1]
    rows = max(count for count in range(1, MOST_ROWS + 1) if height % count == 0)
    blocks = height // rows
    padded = tf.pad(inputs, [[0, 0], [1, 1], [0, 0], [0, 0]])

    def of_block(number: Tensor) -> Tensor:
        place = [number // blocks, number % blocks * rows, 0, 0]
        seen = tf.slice(padded, place, [1, rows + 2, width, channels])[0]
        seen = tf.pad(seen, [[0, 0], [1, 1], [0, 0]])
        seen = tf.concat([seen[:, shift : shift + width] for shift in range(3)], -1)
        wanted = tf.reshape(tf.slice(outer, place, [1, rows, width, filters]), [rows * width, filters])
        return tf.stack(
            [
                tf.matmul(
                    tf.reshape(seen[shift : shift + rows], [rows * width, 3 * channels]), wanted, transpose_a=True
                )
                for shift in range(3)
            ]
        )

    parts = tf.map_fn(
        of_block,
        tf.range(tf.shape(inputs)[0] * blocks),
        fn_output_signature=tf.TensorSpec([3, 3 * channels, filters]),
        parallel_iterations=tf.config.threading.get_inter_op_parallelism_threads() or 2,
    )
    return tf.reshape(tf.reduce_sum(parts, 0), [3, 3, channels, filters])
