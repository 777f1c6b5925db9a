"""The network against the authors' parameter counts, and what every variant must do."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest

from kidney_seg.config import STRIDES, LossConfig, ModelConfig
from kidney_seg.losses import build_losses
from kidney_seg.model import build_model

AUTHORS = {"activation": "sigmoid", "classes": 1, "gates": (2, 3, 4), "gate3_signal": "up1"}


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        (AUTHORS, 5_638_503),
        (AUTHORS | {"classes": 3}, 5_639_471),
        (AUTHORS | {"classes": 3, "gates": (1, 2, 3, 4)}, 5_656_304),
        ({}, 5_687_504),
    ],
    ids=["authors", "3 classes", "top gate", "up2"],
)
def test_parameter_counts_of_the_authors_code(settings, parameters):
    # counted in the public code of reference 1 of the paper (attn_reg), and with the paper's changes
    assert build_model(ModelConfig(**settings)).count_params() == parameters


def test_trainable_parameters_of_the_paper():
    model = build_model()
    assert sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) == 5_680_016


def test_figure_1():
    model = build_model()
    assert [tuple(model.output[head].shape[1:]) for head in model.output] == [
        (32, 32, 3),
        (64, 64, 3),
        (128, 128, 3),
        (256, 256, 3),
    ]
    pools = [layer for layer in model.layers if isinstance(layer, keras.layers.AveragePooling2D)]
    assert [tuple(layer.output.shape[1:]) for layer in pools] == [(128, 128, 1), (64, 64, 1), (32, 32, 1)]
    assert all(layer.pool_size == (2, 2) for layer in pools)
    assert [tuple(model.get_layer(f"gate{level}_weigh").output.shape[1:3]) for level in (1, 2, 3, 4)] == [
        (256, 256),
        (128, 128),
        (64, 64),
        (32, 32),
    ]


def test_window_is_inside():
    model = build_model(ModelConfig(size=16, width_factor=0.1, hu_window=(0.0, 200.0)))
    window = keras.Model(model.inputs, model.get_layer("hu_window_clip").output)
    hu = np.full((1, 16, 16, 1), -1000.0, np.float32)
    hu[0, 0, :4, 0] = [0, 50, 200, 3000]
    np.testing.assert_allclose(np.asarray(window(hu))[0, 0, :5, 0], [0, 0.25, 1, 1, 0], atol=1e-6)


VARIANTS = {
    "paper": {},
    "inline, one head": {"decoder": "inline", "deep_supervision": False},
    "authors": AUTHORS | {"classes": 3, "foreground_prior": 0.0},
    "inline, bilinear gates": {"decoder": "inline", "gate_interpolation": "bilinear", "gate3_signal": "up1"},
    "plain U-Net": {"gates": (), "multi_scale_input": False, "deep_supervision": False},
}

LOAD = """
import sys
import keras, numpy as np
model = keras.saving.load_model("model.keras", compile=False, safe_mode=True)
made = model.predict_on_batch({"image": np.load("hu.npy")})["head4"]
np.testing.assert_allclose(made, np.load("expected.npy"), atol=1e-6)
assert not any(name.startswith("kidney_seg") for name in sys.modules)
print("equal")
"""


def simple_task(config: ModelConfig) -> tuple[dict, dict]:
    """Four slices with a bright square in a brighter one, and their targets at every head."""
    label = np.zeros((4, config.size, config.size), int)
    label[:, 8:20, 8:24], label[:, 12:18, 12:18] = 1, 2
    hu = np.random.default_rng(0).normal(0, 20, label.shape) + 90 * label
    one_hot = np.eye(config.classes, dtype=np.float32)[label]
    targets = {head: one_hot[:, :: STRIDES[head], :: STRIDES[head]] for head in config.heads}
    return {"image": hu[..., None].astype(np.float32)}, targets


@pytest.mark.slow
@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_learns_and_survives_saving(settings, tmp_path):
    config = ModelConfig(size=32, width_factor=0.25, batch_norm_momentum=0.9, **settings)
    keras.utils.set_random_seed(3)
    model = build_model(config)
    assert tuple(model.output) == config.heads
    losses, weights = build_losses(LossConfig(), config)
    model.compile(keras.optimizers.Adam(3e-3), losses, loss_weights=weights)
    slices, targets = simple_task(config)
    history = [float(model.train_on_batch(slices, targets, return_dict=True)["loss"]) for _ in range(20)]
    assert np.isfinite(history).all()
    assert history[-1] < 0.8 * history[0]

    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "hu.npy", slices["image"])
    np.save(tmp_path / "expected.npy", model.predict_on_batch(slices)["head4"])
    # in a new process that knows nothing of this package
    done = subprocess.run([sys.executable, "-c", LOAD], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip().endswith("equal"), done.stderr[-2000:]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_heads_begin_at_the_prior(activation):
    config = ModelConfig(size=16, width_factor=0.1, activation=activation, foreground_prior=0.04)
    biases = [np.asarray(build_model(config).get_layer(f"{head}_logits").bias) for head in config.heads]
    expected = [0.96, 0.02, 0.02] if activation == "softmax" else [0.04] * 3
    for bias in biases:
        odds = np.exp(bias)
        made = odds / odds.sum() if activation == "softmax" else odds / (1 + odds)
        np.testing.assert_allclose(made, expected, atol=1e-6)
    unbiased = build_model(ModelConfig(size=16, width_factor=0.1, foreground_prior=0.0))
    assert not np.asarray(unbiased.get_layer("head4_logits").bias).any()
