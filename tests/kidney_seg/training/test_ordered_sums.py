"""Gradients that meet at a tensor are added in a fixed order."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kidney_seg.config.presets import PRESETS
from kidney_seg.model.attention_unet import build_model
from kidney_seg.training.fused_kernels import with_fast_layers
from kidney_seg.training.ordered_sums import Fork, add_in_order, clone_in_order

pytestmark = pytest.mark.network


@pytest.mark.parametrize(
    ("addends", "expected"),  # of float32: 1e8 + 1 is 1e8
    [((1e8, -1e8, 1), 1), ((1e8, 1, -1e8), 0), ((1, 1e8, -1e8), 0), ((1e8, -1e8, 1e8, -1e8, 3), 3), ((2, 5), 7)],
)
def test_the_order_is_that_of_the_addends(addends: tuple[float, ...], expected: float) -> None:
    @tf.function
    def total(*values: tf.Tensor) -> tf.Tensor:
        return add_in_order([tf.nn.relu(one) - tf.nn.relu(-one) for one in values])

    values = [tf.fill((4, 5), float(one)) for one in addends]
    for _ in range(5):
        np.testing.assert_array_equal(total(*values), np.full((4, 5), expected, np.float32))


def test_gradients_of_a_tensor_that_three_layers_take_are_added_in_one_order() -> None:
    image = keras.Input((4,))
    seen = keras.layers.ReLU(name="seen")(image)
    scaled = [keras.layers.Rescaling(factor)(seen) for factor in (1.0, 1e8, -1e8)]
    model = keras.Model(image, keras.layers.Add()(scaled))
    trained = clone_in_order(model, lambda layer: layer)
    assert [layer.name for layer in trained.layers if isinstance(layer, Fork)] == ["seen_fork"]
    values = tf.ones((2, 4))

    @tf.function
    def gradient() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(values)
            outputs = trained(values)
        return tape.gradient(outputs, values)

    found = {gradient().numpy().tobytes() for _ in range(10)}
    assert len(found) == 1
    assert len([layer for layer in model.layers if isinstance(layer, Fork)]) == 0


@pytest.mark.parametrize(
    ("settings", "forks"), [([], True), (["decoder=inline", "deep_supervision=false"], True), (["gates="], False)]
)
def test_no_gradients_of_the_network_are_added_in_another_way(settings: list[str], forks: bool) -> None:
    trained = with_fast_layers(
        build_model(PRESETS["paper"].with_settings(["size=32", "width_factor=0.1", *settings]).model)
    )
    variables = [one.value for one in trained.trainable_variables]

    @tf.function
    def gradients(image: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = sum(tf.reduce_sum(head**2) for head in trained({"image": image}, training=True).values())
        return tape.gradient(loss, variables)

    graph = gradients.get_concrete_function(tf.TensorSpec((2, 32, 32, 1))).graph
    of_layers = [op for op in graph.get_operations() if op.type == "AddN" and len(op.outputs[0].shape) == 4]
    assert [op.name for op in of_layers if len(op.inputs) > 2] == []
    assert any(isinstance(layer, Fork) for layer in trained.layers) == forks  # no tensor of a plain U-Net has 3 takers
