"""The resampling of served graphs, in TensorFlow and in ONNX Runtime, equals numpy's bit for bit."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.geometry import network_grid as grid
from data_prep.geometry.network_grid import GridSettings
from data_prep.geometry.resampling import most_probable, resampling_weights
from kidney_seg.export.onnx_ops import OnnxOps, Tensor
from kidney_seg.export.served_steps import network_slices, source_classes
from kidney_seg.export.tensorflow_ops import TENSORFLOW
from kidney_seg.predict.onnx.graph import Graph
from kidney_seg.predict.test_time_augmentation import View, tta_views

pixels = st.integers(1, 70)
millimeters = st.sampled_from([0.5, 0.78162497, 1.0, 1.5, 2.0, 3.0, 4.5]) | st.floats(0.3, 6.0)


@tf.function(reduce_retracing=True)
def weights_of(n_from, mm_from, n_to, mm_to):
    return resampling_weights(n_from, mm_from, n_to, mm_to, TENSORFLOW)


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


def in_tensorflow(slices, prob, spacing_mm, size):
    slices, prob, spacing_mm = tf.constant(slices), tf.constant(prob), tf.constant(spacing_mm)
    classes = source_classes(prob, slices, spacing_mm, size, TENSORFLOW)
    return [
        np.asarray(one)
        for one in (network_slices(slices, spacing_mm, size, TENSORFLOW), most_probable(classes, TENSORFLOW), *classes)
    ]


def in_onnx(slices, prob, spacing_mm, size):
    graph = Graph()
    xp = OnnxOps(graph)
    given = {"slices": slices, "prob": prob, "spacing_mm": spacing_mm}
    tensors = {name: Tensor(graph, name, values.dtype.type) for name, values in given.items()}
    classes = source_classes(tensors["prob"], tensors["slices"], tensors["spacing_mm"], size, xp)
    made = (network_slices(tensors["slices"], tensors["spacing_mm"], size, xp), most_probable(classes, xp), *classes)
    content = graph.serialize(
        {name: (values.dtype, values.shape) for name, values in given.items()},
        {one.name: (one.kind, [None] * 3) for one in made},
        {},
    )
    return onnxruntime.InferenceSession(content).run([one.name for one in made], given)


ENGINES = pytest.mark.parametrize("engine", [in_tensorflow, in_onnx])

# 96 and 90 onto 16 pixels: means of 36 whole numbers, which often end in .5 and show every difference in rounding
SHAPES = [((32, 32), (1.0, 1.0)), ((96, 96), (0.78162497, 0.78162497)), ((90, 61), (0.8, 0.7)), ((9, 20), (2.3, 1.1))]


@ENGINES
@pytest.mark.parametrize("pixel_mm", [None, 2.5, 0.6])
@pytest.mark.parametrize(("shape", "spacing_mm"), SHAPES)
def test_both_ways_bit_for_bit(shape, spacing_mm, pixel_mm, engine):
    size = GridSettings(16, pixel_mm)
    rng = np.random.default_rng(0)
    hu = rng.integers(-1024, 1500, (3, *shape)).astype(np.int16)
    prob = rng.dirichlet((0.3, 0.3, 0.3), (3, 16, 16)).astype(np.float32)
    seen, labels, *classes = engine(hu.astype(np.float32), prob, np.array([spacing_mm] * 3), size)
    np.testing.assert_array_equal(seen, grid.to_network(hu, (1.0, *spacing_mm), size))
    np.testing.assert_array_equal(labels, grid.probabilities_to_labels(prob, (3, *shape), (1.0, *spacing_mm), size))
    assert labels.dtype == np.uint8
    np.testing.assert_allclose(sum(classes), 1, atol=1e-5)


@ENGINES
def test_every_slice_has_its_own_spacing(engine):
    size = GridSettings(16, 2.0)
    hu = np.random.default_rng(1).integers(-1000, 1000, (2, 40, 40)).astype(np.float32)
    prob, spacings = np.zeros((2, 16, 16, 3), np.float32), np.array([[0.7, 0.7], [1.4, 0.9]])
    both = engine(hu, prob, spacings, size)[0]
    for number in range(2):
        part = slice(number, number + 1)
        np.testing.assert_array_equal(both[part], engine(hu[part], prob[part], spacings[part], size)[0])


def views_in_tensorflow(view: View, planes: np.ndarray) -> list[np.ndarray]:
    made = tf.function(lambda given: [view.apply(given, TENSORFLOW), view.invert(given, TENSORFLOW)])
    return [one.numpy() for one in made(tf.constant(planes))]


def views_in_onnx(view: View, planes: np.ndarray) -> list[np.ndarray]:
    graph = Graph()
    tensor = Tensor(graph, "planes", np.float32)
    made = view.apply(tensor, OnnxOps(graph)), view.invert(tensor, OnnxOps(graph))
    shapes = {"planes": (np.float32, [None, *planes.shape[1:]])}, {one.name: (np.float32, [None] * 4) for one in made}
    return onnxruntime.InferenceSession(graph.serialize(*shapes, {})).run(
        [one.name for one in made], {"planes": planes}
    )


@pytest.mark.parametrize("engine", [views_in_tensorflow, views_in_onnx])
@pytest.mark.parametrize("zoom", [0.5, 0.75, 1.15, 1.25])
@pytest.mark.parametrize("slices", [0, 1, 3])
def test_views_at_other_sizes_have_the_bits_of_numpy(zoom, slices, engine):
    planes = np.random.default_rng(0).normal(50, 100, (slices, 48, 48, 2)).astype(np.float32)
    view = tta_views("left_right", (zoom,), 48)[1]
    for found, expected in zip(engine(view, planes), (view.apply(planes), view.invert(planes)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_of_equal_probabilities_the_lower_class():
    prob = np.array([[0.5, 0.5, 0.0], [0.2, 0.4, 0.4], [0.3, 0.3, 0.4], [0.4, 0.2, 0.4]])
    assert most_probable(list(prob.T)).tolist() == [0, 1, 2, 0] == prob.argmax(-1).tolist()
    assert most_probable(list(tf.constant(prob.T)), TENSORFLOW).numpy().tolist() == [0, 1, 2, 0]
