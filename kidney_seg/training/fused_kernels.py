"""TensorFlow's fused kernels for batch normalization and Adam in training, where Keras uses many small operations.

The arithmetic and the variables are the same, only the rounding differs. On a CPU the small operations took a quarter
of a step of the preset `paper` (docs/explanation/speed.md). JAX fuses them itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kidney_seg.training import kernel_gradient
from kidney_seg.training.ordered_sums import clone_in_order

Tensor = Any  # of TensorFlow, which has no types


class FusedNorm(keras.layers.Layer):
    """Batch normalization over the last axis, by one kernel forward and one backward; `norm` keeps the variables."""

    def __init__(self, norm: keras.layers.BatchNormalization):
        super().__init__(name=norm.name, dtype=norm.dtype_policy)
        self.norm = norm
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = False, mask: Tensor = None) -> Tensor:
        """Return the normalized `inputs` [batch, height, width, channels]; training updates the moving averages."""
        norm = self.norm
        if not training:
            return norm(inputs, training=False, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=norm.gamma.value,
            offset=norm.beta.value,
            mean=tf.constant([], tf.float32),
            variance=tf.constant([], tf.float32),
            epsilon=norm.epsilon,
            is_training=True,
        )
        # The kernel returns the unbiased estimate, n / (n - 1) times what Keras averages.
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
        variance *= tf.maximum(count - 1.0, 1.0) / count
        for moving, now in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
            moving.assign(moving * norm.momentum + now * (1.0 - norm.momentum))
        return outputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the inputs."""
        return input_shape


def with_fast_layers(model: keras.Model) -> keras.Model:
    """Return a network of the same variables as `model`, with fused batch normalizations and blockwise convolutions.

    Layers that no faster kernel supports stay as they are: double precision, other axes, no scale or no offset.
    """
    return clone_in_order(model, _faster)


def _faster(layer: keras.Layer) -> keras.Layer:
    if _can_be_fused(layer):
        return FusedNorm(layer)
    return kernel_gradient.BlockwiseConv(layer) if kernel_gradient.gains(layer) else layer


def _can_be_fused(layer: keras.Layer) -> bool:
    if not isinstance(layer, keras.layers.BatchNormalization) or layer.compute_dtype == "float64":
        return False
    last = layer.axis in (-1, 3) and len(layer.input.shape) == 4
    return last and layer.scale and layer.center and not (layer.renorm or layer.synchronized)


class FusedAdam(keras.optimizers.Adam):
    """Adam with one kernel per variable in single precision; without `amsgrad`."""

    def _backend_update_step(self, grads: Sequence[Tensor], variables: Sequence[Any], learning_rate: Tensor) -> None:
        """Update all variables; what they share is computed once, not for each of them."""
        step = tf.cast(self.iterations.value + 1, tf.float32)
        betas = [tf.constant(beta, tf.float32) for beta in (self.beta_1, self.beta_2)]
        self._shared = {
            "beta1_power": tf.pow(betas[0], step),
            "beta2_power": tf.pow(betas[1], step),
            "lr": tf.cast(learning_rate, tf.float32),
            "beta1": betas[0],
            "beta2": betas[1],
            "epsilon": tf.constant(self.epsilon, tf.float32),
        }
        super()._backend_update_step(grads, variables, learning_rate)

    def update_step(self, gradient: Tensor, variable: Tensor, learning_rate: Tensor) -> None:
        """Update one variable and its two moments."""
        if variable.dtype != tf.float32:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            grad=tf.cast(gradient, tf.float32),
            **self._shared,
        )
