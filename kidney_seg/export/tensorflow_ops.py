"""TensorFlow's operations for `data_prep.geometry.resampling`, inside a served graph."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import tensorflow as tf

from data_prep.geometry.resampling import ArrayOps


class _TensorFlow:
    """TensorFlow, and what it lacks or calls otherwise; weights: per slice, as (first source pixels, values)."""

    clip: Any = staticmethod(tf.clip_by_value)
    max: Any = staticmethod(tf.reduce_max)
    all: Any = staticmethod(tf.reduce_all)
    astype: Any = staticmethod(tf.cast)
    flip: Any = staticmethod(tf.reverse)

    def __getattr__(self, name: str) -> Any:
        return getattr(tf, name)

    def shape(self, x: tf.Tensor) -> tf.Tensor:
        return tf.shape(x, tf.int64)

    def arange(self, count: tf.Tensor) -> tf.Tensor:
        return tf.range(tf.cast(count, tf.int64))

    def sum(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(x, -1, keepdims=True)

    def take(self, x: tf.Tensor, indices: Any, axis: int) -> tf.Tensor:
        return tf.gather(x, indices, axis=axis)

    def put(self, x: tf.Tensor, indices: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        return tf.tensor_scatter_nd_update(x, indices[:, None], values)

    def flatnonzero(self, x: tf.Tensor) -> tf.Tensor:
        return tf.where(x)[:, 0]

    def weights(self, first: Any, values: Any, n_from: Any) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.convert_to_tensor(first), tf.convert_to_tensor(values)

    def resample_rows(self, planes: tf.Tensor, weights: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        # a product of matrices would add in another order, and the rounding to whole HU would sometimes differ
        first, values = weights
        first = tf.broadcast_to(first, tf.concat([tf.shape(planes)[:1], tf.shape(first)[1:]], 0))
        last, known = tf.shape(planes, tf.int64)[1] - 1, tf.TensorShape([None, None, *planes.shape[2:]])

        def add(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            row = tf.gather(planes, tf.minimum(first + number, last), axis=1, batch_dims=1)
            return number + 1, total + row * tf.gather(values, number, axis=-1)[..., None, None]

        zeros = tf.zeros(tf.concat([tf.shape(first), tf.shape(planes)[2:]], 0))
        if values.shape[-1] is not None:  # weights that no request changes need no loop
            total = zeros
            for number in range(values.shape[-1]):
                _, total = add(np.int64(number), total)
            return total
        _, total = tf.while_loop(
            lambda number, _: number < tf.shape(values, tf.int64)[-1],
            add,
            (np.int64(0), tf.ensure_shape(zeros, known)),
            shape_invariants=(tf.TensorShape([]), known),
        )
        return total


TENSORFLOW = cast(ArrayOps, _TensorFlow())
