"""The network as ONNX: equal to Keras in every form that the settings give it; what cannot be converted is named."""

from __future__ import annotations

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from support.helpers import assert_same_labels

from kidney_seg.config.model import ModelConfig
from kidney_seg.model.attention_unet import build_model
from kidney_seg.predict.onnx.converter import IMAGE, PROBABILITIES, add_network, to_onnx
from kidney_seg.predict.onnx.graph import Graph

pytestmark = pytest.mark.network

FORMS = {
    "paper": {},
    "authors": {"gates": (2, 3, 4), "gate3_signal": "up1", "activation": "sigmoid", "classes": 1},
    "inline, bilinear, three slices": {"decoder": "inline", "gate_interpolation": "bilinear", "input_slices": 3},
    "group normalization": {"normalization": "group", "width_factor": 0.3},
    "plain U-Net": {"gates": (), "multi_scale_input": False, "deep_supervision": False},
}


def shaken(model: keras.Model) -> keras.Model:
    """Give every weight another value, so that no bias, mean or variance is one that does not show.

    The last head's are scaled so that its probabilities are neither 0 nor 1.
    """
    rng = np.random.default_rng(0)
    for layer in model.layers:
        weights = layer.get_weights()
        layer.set_weights([w * rng.uniform(0.8, 1.2, w.shape) + 0.05 * rng.random(w.shape) for w in weights])
    head = model.get_layer("head4_logits")
    seen = rng.normal(50, 200, (2, *model.inputs[0].shape[1:])).astype(np.float32)
    logits = np.asarray(keras.Model(model.inputs, head.output)([seen]), np.float64)
    kernel, bias = head.get_weights()
    mean, scale = logits.mean((0, 1, 2)), logits.std()
    head.set_weights([kernel / scale, (bias - mean) / scale])
    return model


def run(path, hu: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run([PROBABILITIES], {IMAGE: hu})[0]


def by_keras(model: keras.Model, hu: np.ndarray) -> np.ndarray:
    return np.asarray(model({"image": hu}, training=False)["head4"])  # without tracing: it is run once


@pytest.mark.parametrize("form", FORMS)
def test_equal_to_keras(form):
    keras.utils.set_random_seed(1)
    model = shaken(build_model(ModelConfig(**{"size": 32, "width_factor": 0.25, **FORMS[form]})))
    content = to_onnx(model, {"weights_sha256": "abc"})
    made = onnx.load_from_string(content)
    assert {entry.key: entry.value for entry in made.metadata_props} == {"weights_sha256": "abc"}
    channels = model.inputs[0].shape[-1]
    for batch in (1, 3):  # any number of slices
        hu = np.random.default_rng(batch).normal(50, 200, (batch, 32, 32, channels)).astype(np.float32)
        expected = by_keras(model, hu)
        assert expected.std() > 0.05 and 0.01 < expected.mean() < 0.9
        np.testing.assert_allclose(run(content, hu), expected, atol=1e-5)


def test_half_precision_becomes_single():
    half = shaken(build_model(ModelConfig(size=16, width_factor=0.1, precision="mixed_bfloat16")))
    single = build_model(ModelConfig(size=16, width_factor=0.1))
    single.set_weights(half.get_weights())
    content = to_onnx(half)
    hu = np.random.default_rng(0).normal(50, 200, (2, 16, 16, 1)).astype(np.float32)
    np.testing.assert_allclose(run(content, hu), by_keras(single, hu), atol=1e-5)


def test_the_network_is_a_part_of_a_larger_graph(tmp_path):
    from onnx import TensorProto, helper

    model = shaken(build_model(ModelConfig(size=16, width_factor=0.1)))
    graph = Graph(prefix="net/")
    doubled = graph.add("Mul", ["half_hu", graph.constant(2)])
    labels = graph.add("ArgMax", [add_network(graph, model, doubled)], "labels", axis=3, keepdims=0)
    made = helper.make_graph(
        graph.nodes,
        "pipeline",
        [helper.make_tensor_value_info("half_hu", TensorProto.FLOAT, ["batch", 16, 16, 1])],
        [helper.make_tensor_value_info(labels, TensorProto.INT64, None)],
        graph.constants,
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "p.onnx")
    hu = np.random.default_rng(0).normal(50, 200, (2, 16, 16, 1)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "p.onnx", providers=["CPUExecutionProvider"])
    expected = by_keras(model, hu)
    assert_same_labels(session.run(None, {"half_hu": hu / 2})[0], expected.argmax(axis=-1), expected)


UNKNOWN = {
    "Dropout": keras.layers.SpatialDropout2D(0.5, name="odd"),
    "padding with strides": keras.layers.Conv2D(3, 3, strides=2, padding="same", name="odd"),
    "dilation": keras.layers.Conv2D(3, 3, dilation_rate=2, name="odd"),
    "transposed convolution": keras.layers.Conv2DTranspose(3, 1, strides=2, padding="same", name="odd"),
    "activation": keras.layers.Activation("gelu", name="odd"),
    "interpolation": keras.layers.UpSampling2D(2, interpolation="bicubic", name="odd"),
    "slope": keras.layers.ReLU(negative_slope=0.1, name="odd"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_cannot_be_converted_is_named(what):
    image = keras.Input((16, 16, 3), name="image")
    model = keras.Model({"image": image}, {"head4": UNKNOWN[what](image)})
    with pytest.raises(ValueError, match=r"layer odd: .*cannot be converted"):
        to_onnx(model)
