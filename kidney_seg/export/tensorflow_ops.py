"""TensorFlow's operations for `data_prep.geometry.resampling`, inside a served graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from data_prep.geometry.resampling import ArrayOps


class _TensorFlow:
    """weights: those of each slice of the batch, as (first source pixels, values)."""

    round: Any = staticmethod(tf.round)
    floor: Any = staticmethod(tf.floor)
    minimum: Any = staticmethod(tf.minimum)
    maximum: Any = staticmethod(tf.maximum)
    clip: Any = staticmethod(tf.clip_by_value)
    equal: Any = staticmethod(tf.equal)
    where: Any = staticmethod(tf.where)
    max: Any = staticmethod(tf.reduce_max)
    all: Any = staticmethod(tf.reduce_all)
    astype: Any = staticmethod(tf.cast)
    expand_dims: Any = staticmethod(tf.expand_dims)
    transpose: Any = staticmethod(tf.transpose)
    matmul: Any = staticmethod(tf.matmul)

    def shape(self, x: tf.Tensor) -> tf.Tensor:
        return tf.shape(x, tf.int64)

    def arange(self, count: tf.Tensor) -> tf.Tensor:
        return tf.range(tf.cast(count, tf.int64))

    def sum(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(x, -1, keepdims=True)

    def take(self, x: tf.Tensor, indices: Any, axis: int) -> tf.Tensor:
        return tf.gather(x, indices, axis=axis)

    def flip(self, x: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
        return tf.reverse(x, axes)

    def weights(self, first: tf.Tensor, values: tf.Tensor, n_from: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return first, values

    def resample_rows(self, planes: tf.Tensor, weights: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        # a product of matrices would add in another order, and the rounding to whole HU would sometimes differ
        first, values = weights
        last, known = tf.shape(planes, tf.int64)[1] - 1, tf.TensorShape([None, None, *planes.shape[2:]])

        def add(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            row = tf.gather(planes, tf.minimum(first + number, last), axis=1, batch_dims=1)
            return number + 1, total + row * tf.gather(values, number, axis=-1)[..., None, None]

        zeros = tf.zeros(tf.concat([tf.shape(first), tf.shape(planes)[2:]], 0))
        _, total = tf.while_loop(
            lambda number, _: number < tf.shape(values, tf.int64)[-1],
            add,
            (np.int64(0), tf.ensure_shape(zeros, known)),
            shape_invariants=(tf.TensorShape([]), known),
        )
        return total


TENSORFLOW: ArrayOps = _TensorFlow()
