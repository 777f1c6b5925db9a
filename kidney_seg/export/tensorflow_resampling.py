"""Resampling in TensorFlow, inside a served graph: HU slices to the network's grid, and probabilities back.

The same arithmetic in the same order, so that a served model answers what `kidney_seg.predict` does: weights in
float64, sums in float32 from the first pixel to the last. A product of matrices would add in another order, and the
rounding to whole HU would now and then fall to the other side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_prep.geometry.network_grid import AIR_HU, GridSettings

if TYPE_CHECKING:
    import tensorflow as tf

Weights = tuple["tf.Tensor", "tf.Tensor"]


def resampling_weights(n_from: tf.Tensor, mm_from: tf.Tensor, n_to: tf.Tensor, mm_to: tf.Tensor) -> Weights:
    """Return the nonzero entries of `network_grid.resampling_matrix` for a batch of pixel sizes.

    n_from, n_to: int32 scalars; mm_from, mm_to: float64 [batch]. Returns the first source pixel of every target pixel,
    int32 [batch, n_to], and the weights from there on, float32 [batch, n_to, k]; k is the largest number of them.
    """
    import tensorflow as tf

    def edges(index: tf.Tensor, count: tf.Tensor, mm: tf.Tensor) -> tf.Tensor:
        return (tf.cast(index, tf.float64) - tf.cast(count, tf.float64) / 2) * mm

    mm_from, mm_to = mm_from[:, None, None], mm_to[:, None, None]
    target = tf.range(n_to)[None, :, None]
    low, high = edges(target, n_to, mm_to), edges(target + 1, n_to, mm_to)
    most = tf.cast(tf.math.ceil(tf.reduce_max(mm_to / mm_from)), tf.int32) + 3
    first = tf.math.floor(low / mm_from + tf.cast(n_from, tf.float64) / 2) - 1
    first = tf.cast(tf.clip_by_value(first, 0.0, tf.cast(n_from - 1, tf.float64)), tf.int32)
    source = first + tf.range(tf.minimum(most, n_from + 1))[None, None, :]
    upper = tf.minimum(high, edges(source + 1, n_from, mm_from))
    lower = tf.maximum(low, edges(source, n_from, mm_from))
    overlap = tf.where(source < n_from, tf.maximum(upper - lower, 0.0) / mm_to, 0.0)

    # pixels that shrink: linear between the centers of two neighbors
    center = (low + high) / 2 / mm_from + (tf.cast(n_from, tf.float64) - 1) / 2
    position = tf.clip_by_value(center, 0.0, tf.cast(n_from - 1, tf.float64))
    left = tf.minimum(tf.cast(position, tf.int32), tf.maximum(n_from - 2, 0))
    share = position - tf.cast(left, tf.float64)
    inside = tf.reduce_sum(overlap, axis=-1, keepdims=True)
    zero = tf.zeros_like(share)
    linear = tf.where(source == left, (1 - share) * inside, zero) + tf.where(source == left + 1, share * inside, zero)

    weights = tf.cast(tf.where(mm_to >= mm_from, overlap, linear), tf.float32)
    used = tf.reduce_max(tf.where(weights != 0, tf.range(tf.shape(weights)[-1]) + 1, 0))
    return first[..., 0], weights[..., : tf.maximum(used, 1)]


def resample_rows(planes: tf.Tensor, by: Weights) -> tf.Tensor:
    """Resample the first axis of every plane: float32 [batch, n_from, ...] -> [batch, n_to, ...]."""
    import tensorflow as tf

    first, weights = by
    last = tf.shape(planes)[1] - 1
    rest = [1] * (planes.shape.rank - 2)

    def add(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        row = tf.gather(planes, tf.minimum(first + number, last), axis=1, batch_dims=1)
        weight = tf.gather(weights, number, axis=-1)
        return number + 1, total + row * tf.reshape(weight, tf.concat([tf.shape(weight), rest], 0))

    shape = tf.concat([tf.shape(first), tf.shape(planes)[2:]], 0)
    total = tf.ensure_shape(tf.zeros(shape, tf.float32), [None, None, *planes.shape[2:]])
    known = tf.TensorShape([None, None, *planes.shape[2:]])
    _, total = tf.while_loop(
        lambda number, _: number < tf.shape(weights)[-1],
        add,
        (tf.constant(0), total),
        shape_invariants=(tf.TensorShape([]), known),
    )
    return total


def network_pixel_mm(shape_yx: tf.Tensor, spacing_mm: tf.Tensor, settings: GridSettings) -> tf.Tensor:
    """Return the network's pixel in mm, float64 [batch], for slices of one shape and spacings float64 [batch, 2]."""
    import tensorflow as tf

    if settings.pixel_mm is not None:
        return tf.fill(tf.shape(spacing_mm)[:1], tf.constant(settings.pixel_mm, tf.float64))
    return tf.reduce_max(tf.cast(shape_yx, tf.float64) * spacing_mm, axis=1) / settings.size


def to_network(slices: tf.Tensor, spacing_mm: tf.Tensor, settings: GridSettings) -> tf.Tensor:
    """Return whole HU, float32 [batch, size, size], of whole HU float32 [batch, y, x]; air around the source field."""
    import tensorflow as tf

    shape = tf.shape(slices)[1:]
    mm = network_pixel_mm(shape, spacing_mm, settings)
    size = tf.constant(settings.size)
    by_y, by_x = (resampling_weights(shape[axis], spacing_mm[:, axis], size, mm) for axis in (0, 1))
    rows = resample_rows(slices - AIR_HU, by_y)
    made = tf.transpose(resample_rows(tf.transpose(rows, (0, 2, 1)), by_x), (0, 2, 1)) + AIR_HU
    made = tf.clip_by_value(tf.round(made), -32768.0, 32767.0)
    return tf.ensure_shape(made, (None, settings.size, settings.size))


def to_source(prob: tf.Tensor, shape_yx: tf.Tensor, spacing_mm: tf.Tensor, settings: GridSettings) -> tf.Tensor:
    """Return probabilities on the source's pixels: float32 [batch, size, size, classes] -> [batch, y, x, classes].

    Outside the network's field the background has 1.
    """
    import tensorflow as tf

    mm = network_pixel_mm(shape_yx, spacing_mm, settings)
    size = tf.constant(settings.size)
    by_y, by_x = (resampling_weights(size, mm, shape_yx[axis], spacing_mm[:, axis]) for axis in (0, 1))
    rows = resample_rows(prob, by_y)
    made = tf.transpose(resample_rows(tf.transpose(rows, (0, 2, 1, 3)), by_x), (0, 2, 1, 3))
    ones = tf.ones(tf.concat([tf.shape(prob)[:2], [1]], 0))
    inside_y, inside_x = resample_rows(ones, by_y), resample_rows(ones, by_x)
    outside = 1 - inside_y * tf.transpose(inside_x, (0, 2, 1))
    return tf.concat([made[..., :1] + outside[..., None], made[..., 1:]], axis=-1)


def most_probable(prob: tf.Tensor) -> tf.Tensor:
    """Return labels uint8 [...] of probabilities [..., classes]; of equal ones the lower class, as numpy's argmax."""
    import tensorflow as tf

    best, label = prob[..., 0], tf.zeros(tf.shape(prob)[:-1], tf.uint8)
    for number in range(1, prob.shape[-1]):
        higher = prob[..., number] > best
        label = tf.where(higher, tf.constant(number, tf.uint8), label)
        best = tf.maximum(best, prob[..., number])
    return label
