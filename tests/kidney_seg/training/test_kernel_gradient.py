"""The gradient of a convolution's kernel, block by block, is TensorFlow's own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kidney_seg.config.presets import PRESETS
from kidney_seg.losses.keras_losses import build_losses
from kidney_seg.model.attention_unet import build_model
from kidney_seg.training import kernel_gradient
from kidney_seg.training.fused_kernels import with_fast_layers
from kidney_seg.training.kernel_gradient import BlockwiseConv, gains

pytestmark = pytest.mark.network


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take it for every convolution that it can do, on every processor."""
    monkeypatch.setattr(kernel_gradient, "LEAST_WORK", 0)
    monkeypatch.setattr(kernel_gradient, "_is_measured_processor", lambda: True)


@pytest.mark.parametrize(
    ("batch", "height", "width", "channels", "filters"),
    [(2, 32, 8, 3, 5), (1, 1, 1, 1, 1), (3, 17, 5, 2, 4), (1, 23, 40, 7, 1), (2, 16, 16, 1, 8), (0, 4, 4, 2, 2)],
)
def test_it_is_that_of_the_convolution(batch: int, height: int, width: int, channels: int, filters: int) -> None:
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(0, 1, (batch, height, width, channels)), tf.float32)
    outer = tf.constant(rng.normal(0, 1, (batch, height, width, filters)), tf.float32)
    kernel = tf.zeros((3, 3, channels, filters))
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        outputs = tf.nn.conv2d(inputs, kernel, 1, "SAME")
    found = kernel_gradient.kernel_gradient(inputs, outer)
    expected = tape.gradient(outputs, kernel, outer)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, batch * height * width) ** 0.5)


def test_it_has_the_same_bits_every_time() -> None:
    rng = np.random.default_rng(0)
    inputs, outer = (tf.constant(rng.normal(0, 1, (4, 48, 64, count)), tf.float32) for count in (32, 16))
    compiled = tf.function(kernel_gradient.kernel_gradient)
    assert len({compiled(inputs, outer).numpy().tobytes() for _ in range(10)}) == 1


def of_network(model: keras.Model, trained: keras.Model, image: np.ndarray, truth: dict) -> list[np.ndarray]:
    losses, weights = build_losses(PRESETS["paper"].loss, PRESETS["paper"].model)
    with tf.GradientTape() as tape:
        made = trained({"image": image}, training=True)
        loss = sum(weights[head] * losses[head](truth[head], made[head]) for head in made)
    return [np.asarray(one) for one in tape.gradient(loss, [one.value for one in model.trainable_variables])]


def test_the_network_gets_the_same_gradients(everywhere: None) -> None:
    model = build_model(PRESETS["paper"].with_settings(["size=32", "width_factor=0.2"]).model)
    rng = np.random.default_rng(1)
    image = rng.normal(50, 80, (2, 32, 32, 1)).astype(np.float32)
    truth = {name: np.eye(3)[rng.integers(0, 3, (2, *head.shape[1:3]))] for name, head in model.output.items()}
    trained = with_fast_layers(model)
    replaced = [layer for layer in trained.layers if isinstance(layer, BlockwiseConv)]
    wanted = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (3, 3)]
    assert [layer.conv for layer in replaced] == [one for one in wanted if type(one) is keras.layers.Conv2D]
    assert len(replaced) == 21
    assert all(one is other for one, other in zip(model.variables, trained.variables, strict=True))
    expected = of_network(model, model, image, truth)
    for found, wanted_gradient in zip(of_network(model, trained, image, truth), expected, strict=True):
        np.testing.assert_allclose(found, wanted_gradient, atol=1e-4)
    assert max(np.abs(one).max() for one in expected) > 0.01  # else nothing is shown


def test_what_it_cannot_do_stays_as_it_is(everywhere: None) -> None:
    image = keras.Input((8, 8, 4))
    able = keras.layers.Conv2D(2, 3, padding="same")
    able(image)
    assert gains(able)
    half = keras.layers.Conv2D(2, 3, padding="same", dtype="mixed_float16")
    others = [
        half,
        keras.layers.Conv2D(2, 3),
        keras.layers.Conv2D(2, 1, padding="same"),
        keras.layers.Conv2D(2, 3, strides=2, padding="same"),
        keras.layers.Conv2D(2, 3, dilation_rate=2, padding="same"),
        keras.layers.Conv2D(2, 3, padding="same", groups=2),
        keras.layers.Conv2D(2, 3, padding="same", use_bias=False),
        keras.layers.Conv2DTranspose(2, 3, padding="same"),
    ]
    for layer in others:
        layer(image)
        assert not gains(layer), layer.get_config()


def test_it_is_for_work_that_gains() -> None:
    """The paper's wide convolutions, and none of the small networks of tests."""
    for size, count in ((256, 13), (32, 0)):
        model = build_model(PRESETS["paper"].with_settings([f"size={size}"]).model)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel_gradient, "_is_measured_processor", lambda: True)
            assert sum(map(gains, model.layers)) == count
            patch.setattr(kernel_gradient, "_is_measured_processor", lambda: False)
            assert not any(map(gains, model.layers))
