"""What every configuration of network and loss must do: learn, survive saving, answer alike when compiled by XLA."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kidney_seg.config.loss import LossConfig
from kidney_seg.config.model import HEADS, STRIDES, ModelConfig
from kidney_seg.config.rounds import RoundsConfig
from kidney_seg.config.run_config import Config
from kidney_seg.losses.keras_losses import build_losses
from kidney_seg.model.attention_unet import build_model
from kidney_seg.training.trainer import Trainer

pytestmark = [pytest.mark.network, pytest.mark.slow]
AUTHORS = {"gates": (2, 3, 4), "gate3_signal": "up1", "foreground_prior": 0.0}

# Together they hold every value of every setting of the network and of the loss that changes the graph.
MATRIX: dict[str, tuple[dict, dict]] = {
    "paper": ({}, {}),
    "authors, binary": (AUTHORS | {"classes": 1, "activation": "sigmoid"}, {"last_head": "tversky"}),
    "authors, 3 classes, bfloat16": (
        AUTHORS | {"activation": "sigmoid", "precision": "mixed_bfloat16"},
        {"last_head": "tversky", "cross_entropy": 0.5},
    ),
    "inline, bilinear gates": (
        {"decoder": "inline", "gate_interpolation": "bilinear", "gate3_signal": "up1"},
        {"target": "regions", "cross_entropy": 0.5, "coarse_targets": "average"},
    ),
    "inline, 3 slices, 1 head, float16": (
        {"decoder": "inline", "input_slices": 3, "deep_supervision": False, "precision": "mixed_float16"},
        {"loss_function": "tversky", "sums": "sample", "background": True},
    ),
    "plain U-Net": (
        {"gates": (), "multi_scale_input": False, "deep_supervision": False},
        {"loss_function": "dice_cross_entropy"},
    ),
    "top gate only, other widths, 5 slices, group normalization": (
        {"gates": (1,), "widths": (16, 24, 40, 56, 72), "multi_scale_input": False, "input_slices": 5}
        | {"normalization": "group", "norm_groups": 4},
        {"loss_function": "cross_entropy"},
    ),
}

LOAD = """
import sys
from pathlib import Path
import keras, numpy as np
for path in sorted(Path().glob("*.keras")):
    with np.load(path.with_suffix(".npz")) as kept:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        made = {name: np.asarray(head) for name, head in model({"image": kept["image"]}, training=False).items()}
        assert list(made) == [name for name in kept.files if name != "image"], list(made)
        for name in made:
            np.testing.assert_array_equal(made[name], kept[name])
    print(path.stem)
assert not any(name.startswith("kidney_seg") for name in sys.modules)
"""


def simple_task(config: ModelConfig, loss: LossConfig) -> tuple[dict, dict]:
    """Return HU and targets of four slices with a bright square (kidney) and a brighter one in it (tumor)."""
    label = np.zeros((4, config.size, config.size), int)
    label[:, 8:20, 8:24], label[:, 12:18, 12:18] = 1, 2
    hu = np.random.default_rng(0).normal(0, 20, (config.input_slices, *label.shape)) + 90 * label
    one_hot = np.eye(3, dtype=np.float32)[label]
    if config.classes == 1:
        one_hot = one_hot[..., 1:].sum(axis=-1, keepdims=True)
    targets = {}
    for head in config.heads:
        stride = STRIDES[head]
        targets[head] = one_hot[:, ::stride, ::stride]
        if loss.coarse_targets == "average":
            targets[head] = np.asarray(tf.nn.avg_pool2d(one_hot, stride, stride, "VALID"))
    return {"image": np.moveaxis(hu, 0, -1).astype(np.float32)}, targets


def compiled(config: ModelConfig, loss: LossConfig) -> tuple[keras.Model, keras.Model]:
    """Return the network and what trains it: the project's trainer, or plain Keras for classes that no run has."""
    keras.utils.set_random_seed(3)
    if config.classes == 3:
        trainer = Trainer(Config(model=config, loss=loss, rounds=RoundsConfig(peak_rate=3e-3)))
        return trainer.model, trainer.trained
    model = build_model(config)
    losses, weights = build_losses(loss, config)
    model.compile(keras.optimizers.Adam(3e-3), losses, loss_weights=weights, jit_compile=False)
    return model, model


class Trained:
    """A configuration of the matrix after 20 steps on one batch."""

    def __init__(self, name: str):
        network, loss = MATRIX[name]
        self.config = ModelConfig(**{"size": 32, "width_factor": 0.25, "batch_norm_momentum": 0.9, **network})
        settings = LossConfig(**loss)
        self.slices, targets = simple_task(self.config, settings)
        self.model, trained = compiled(self.config, settings)
        steps = (trained.train_on_batch(self.slices, targets, return_dict=True) for _ in range(20))
        self.history = [float(step["loss"]) for step in steps]
        self.answer = self.model.predict_on_batch(self.slices)


@pytest.fixture(scope="module")
def trained():
    """Train a configuration when it is first asked for."""
    made: dict[str, Trained] = {}

    def get(name: str) -> Trained:
        if name not in made:
            made[name] = Trained(name)
        return made[name]

    return get


@pytest.mark.parametrize("name", MATRIX)
def test_learns(name, trained):
    done = trained(name)
    assert np.isfinite(done.history).all()
    assert done.history[-1] < 0.8 * done.history[0]
    assert all(np.isfinite(variable.numpy()).all() for variable in done.model.variables)


@pytest.mark.parametrize("name", MATRIX)
def test_outputs_are_named_and_ordered_coarse_to_fine(name, trained):
    done = trained(name)
    assert tuple(done.model.output) == tuple(done.answer) == done.config.heads
    assert done.config.heads in (HEADS, HEADS[-1:])
    sides = [done.answer[head].shape[1] for head in done.config.heads]
    assert sides == [32 // STRIDES[head] for head in done.config.heads]
    assert {answer.dtype for answer in done.answer.values()} == {np.dtype("float32")}


@pytest.mark.parametrize("name", MATRIX)
def test_answers_alike_compiled_by_xla(name, trained):
    done = trained(name)
    compiled = tf.function(lambda image: done.model({"image": image}, training=False), jit_compile=True)
    # half precision rounds wherever XLA does not fuse: bfloat16 keeps 8 bits, float16 11
    tolerance = {"float32": 1e-4, "mixed_float16": 1e-2, "mixed_bfloat16": 5e-2}[done.config.precision]
    for head, made in compiled(done.slices["image"]).items():
        np.testing.assert_allclose(made, done.answer[head], atol=tolerance)


def test_loads_in_a_new_process_without_this_package(trained, tmp_path: Path):
    for name in MATRIX:
        done = trained(name)
        done.model.save(tmp_path / f"{name}.keras")
        answer = done.model(done.slices, training=False)  # not traced, as in the other process
        np.savez(tmp_path / f"{name}.npz", **done.slices, **{head: np.asarray(made) for head, made in answer.items()})
    run = subprocess.run([sys.executable, "-c", LOAD], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.split("\n")[:-1] == sorted(MATRIX)
