"""The same network and loss under Keras' JAX backend: same weights, same answers, same gradients."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kidney_seg.config.loss import LossConfig
from kidney_seg.config.model import STRIDES, ModelConfig
from kidney_seg.losses.keras_losses import FocalTversky, build_losses
from kidney_seg.model.attention_unet import build_model

pytestmark = [
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed (extra `test`)"),
]
NETWORKS = {
    "paper": (ModelConfig(size=32, width_factor=0.25), LossConfig()),
    "inline": (
        ModelConfig(size=32, width_factor=0.25, decoder="inline", gate_interpolation="bilinear", input_slices=3),
        LossConfig(target="regions", cross_entropy=0.5, last_head="tversky", sums="sample"),
    ),
    "sigmoid": (
        ModelConfig(size=32, width_factor=0.25, activation="sigmoid", gates=(2, 3, 4), gate3_signal="up1"),
        LossConfig(loss_function="dice_cross_entropy"),
    ),
}
CORNERS = {
    "empty": np.zeros((2, 8, 8), int),
    "tumor everywhere": np.full((2, 8, 8), 2),
    "one voxel": np.pad([[[2]]], ((0, 1), (3, 4), (3, 4))),
}

UNDER_JAX = """
import sys
import jax, keras, numpy as np
sys.path.insert(0, {tests!r})
from test_jax import CORNERS, NETWORKS, corner_logits
from kidney_seg.losses.keras_losses import FocalTversky, build_losses
from kidney_seg.model.attention_unet import build_model

assert keras.backend.backend() == "jax"
for name, (network, settings) in NETWORKS.items():
    given = np.load(name + "-given.npz")
    model = build_model(network)
    model.set_weights([given[f"weight{{index}}"] for index in range(len(model.weights))])
    losses, weights = build_losses(settings, network)
    fixed = [variable.value for variable in model.non_trainable_variables]

    def total(trained):
        made, _ = model.stateless_call(trained, fixed, {{"image": given["image"]}}, training=True)
        return sum(weights[head] * losses[head](given[head], made[head]) for head in made)

    loss, gradients = jax.jit(jax.value_and_grad(total))([variable.value for variable in model.trainable_variables])
    answers = model.predict_on_batch({{"image": given["image"]}})
    np.savez(name + "-jax.npz", loss=loss, **answers, **{{f"gradient{{i}}": g for i, g in enumerate(gradients)}})
corners = {{}}
one = jax.jit(jax.value_and_grad(lambda values, truth: FocalTversky()(truth, jax.nn.softmax(values))))
for name in CORNERS:
    for answer in (-1.0, 0.0, 1.0):
        truth, logits = corner_logits(name, answer)
        corners[f"{{name}} {{answer}} loss"], corners[f"{{name}} {{answer}} gradient"] = one(logits, truth)
np.savez("corners-jax.npz", **corners)
"""


def corner_logits(name: str, answer: float) -> tuple[np.ndarray, np.ndarray]:
    """Return one-hot truth and logits of +-1e4 that are right (1), wrong (-1), or 0 everywhere."""
    truth = np.eye(3, dtype=np.float32)[CORNERS[name]]
    return truth, np.float32(answer * 1e4) * (2 * truth - 1)


def test_same_answers_loss_and_gradients_as_under_tensorflow(tmp_path):
    rng = np.random.default_rng(0)
    expected = {}
    for name, (network, settings) in NETWORKS.items():
        keras.utils.set_random_seed(5)
        model = build_model(network)
        label = np.zeros((2, 32, 32), int)
        label[:, 4:20, 6:24], label[1, 8:14, 8:14] = 1, 2
        one_hot = np.eye(3, dtype=np.float32)[label]
        targets = {head: one_hot[:, :: STRIDES[head], :: STRIDES[head]] for head in network.heads}
        image = rng.normal(60, 90, (2, 32, 32, network.input_slices)).astype(np.float32)
        given = {f"weight{index}": value for index, value in enumerate(model.get_weights())}
        np.savez(tmp_path / f"{name}-given.npz", image=image, **targets, **given)
        losses, weights = build_losses(settings, network)
        with tf.GradientTape() as tape:
            made = model({"image": image}, training=True)
            loss = sum(weights[head] * losses[head](targets[head], made[head]) for head in made)
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        model.set_weights(list(given.values()))  # the moving averages have moved
        answers = model({"image": image}, training=False)
        expected[name] = {"loss": loss, **answers, **{f"gradient{i}": g for i, g in enumerate(gradients)}}
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # compiles sooner
    code = UNDER_JAX.format(tests=str(Path(__file__).parent))
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    for name, values in expected.items():
        with np.load(tmp_path / f"{name}-jax.npz") as made:
            assert set(made.files) == set(values)
            for key, value in values.items():
                np.testing.assert_allclose(made[key], np.asarray(value), atol=1e-4, err_msg=f"{name}: {key}")
            assert max(abs(made[key]).max() for key in made.files if "gradient" in key) > 0.01  # else nothing is shown
    with np.load(tmp_path / "corners-jax.npz") as made:
        for name in CORNERS:
            for answer in (-1.0, 0.0, 1.0):
                truth, logits = corner_logits(name, answer)
                values = tf.constant(logits)
                with tf.GradientTape() as tape:
                    tape.watch(values)
                    loss = FocalTversky()(truth, tf.nn.softmax(values))
                place = f"{name} {answer}"
                np.testing.assert_allclose(made[f"{place} loss"], float(loss), atol=1e-6, err_msg=place)
                gradient = made[f"{place} gradient"]
                assert np.isfinite(gradient).all(), place
                np.testing.assert_allclose(gradient, tape.gradient(loss, values), atol=1e-6, err_msg=place)
