"""The served graph's arithmetic against that of `data_prep.geometry.network_grid`, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.geometry import network_grid as grid
from data_prep.geometry.network_grid import GridSettings
from kidney_seg.export import tensorflow_resampling as served_grid

pytestmark = pytest.mark.network

pixels = st.integers(1, 70)
millimeters = st.sampled_from([0.5, 0.78162497, 1.0, 1.5, 2.0, 3.0, 4.5]) | st.floats(0.3, 6.0)


@tf.function(reduce_retracing=True)
def weights_of(n_from, mm_from, n_to, mm_to):
    return served_grid.resampling_weights(n_from, mm_from, n_to, mm_to)


@given(pixels, millimeters, pixels, millimeters)
@settings(max_examples=150, deadline=None)
def test_weights_are_those_of_the_matrix(n_from, mm_from, n_to, mm_to):
    first, weights = weights_of(
        tf.constant(n_from), tf.constant([mm_from], tf.float64), tf.constant(n_to), tf.constant([mm_to], tf.float64)
    )
    made = np.zeros((n_to, n_from + weights.shape[-1]), np.float32)
    for row, (start, values) in enumerate(zip(first[0].numpy(), weights[0].numpy(), strict=True)):
        made[row, start : start + len(values)] = values
    np.testing.assert_array_equal(made[:, :n_from], grid.resampling_matrix(n_from, mm_from, n_to, mm_to))
    assert not made[:, n_from:].any()


# 96 and 90 onto 16 pixels: means of 36 whole numbers, which often end in .5 and show every difference in rounding
SHAPES = [((32, 32), (1.0, 1.0)), ((96, 96), (0.78162497, 0.78162497)), ((90, 61), (0.8, 0.7)), ((9, 20), (2.3, 1.1))]


@pytest.mark.parametrize("pixel_mm", [None, 2.5, 0.6])
@pytest.mark.parametrize(("shape", "spacing_mm"), SHAPES)
def test_both_ways_bit_for_bit(shape, spacing_mm, pixel_mm):
    size = GridSettings(16, pixel_mm)
    rng = np.random.default_rng(0)
    hu = rng.integers(-1024, 1500, (3, *shape)).astype(np.int16)
    spacing = tf.constant([spacing_mm] * 3, tf.float64)
    expected = grid.to_network(hu, (1.0, *spacing_mm), size)
    made = served_grid.to_network(tf.constant(hu, tf.float32), spacing, size)
    np.testing.assert_array_equal(made, expected)

    prob = rng.dirichlet((0.3, 0.3, 0.3), (3, 16, 16)).astype(np.float32)
    back = served_grid.to_source(tf.constant(prob), tf.constant(shape), spacing, size)
    labels = grid.probabilities_to_labels(prob, (3, *shape), (1.0, *spacing_mm), size)
    np.testing.assert_array_equal(served_grid.most_probable(back), labels)
    np.testing.assert_allclose(tf.reduce_sum(back, -1), 1, atol=1e-5)


def test_every_slice_has_its_own_spacing():
    size = GridSettings(16, 2.0)
    hu = np.random.default_rng(1).integers(-1000, 1000, (2, 40, 40)).astype(np.float32)
    both = served_grid.to_network(tf.constant(hu), tf.constant([[0.7, 0.7], [1.4, 0.9]], tf.float64), size)
    for number, spacing in enumerate([[0.7, 0.7], [1.4, 0.9]]):
        alone = served_grid.to_network(tf.constant(hu[number : number + 1]), tf.constant([spacing], tf.float64), size)
        np.testing.assert_array_equal(both[number], alone[0])


def test_of_equal_probabilities_the_lower_class():
    prob = tf.constant([[0.5, 0.5, 0.0], [0.2, 0.4, 0.4], [0.3, 0.3, 0.4], [0.4, 0.2, 0.4]])
    assert served_grid.most_probable(prob).numpy().tolist() == [0, 1, 2, 0] == prob.numpy().argmax(-1).tolist()
