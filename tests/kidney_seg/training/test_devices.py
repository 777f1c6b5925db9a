"""Several devices that share a batch end where one device ends."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from support import training_steps
from support.helpers import free_port

from data_prep.errors import InputError
from kidney_seg.config.run_config import Config
from kidney_seg.training import devices
from kidney_seg.training.devices import choose_devices

pytestmark = [pytest.mark.network, pytest.mark.slow]

PARTS = ("gates=1", "deep_supervision=true")  # four losses and a gate: what TensorFlow must add up
TENSORFLOW = {"KERAS_BACKEND": "tensorflow", "CPU_DEVICES": "2"}
JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
FOUR = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_NUM_PROCESSES": "2"}


def start(environment: dict[str, str], words: list[str]) -> subprocess.Popen:
    arguments = [sys.executable, training_steps.__file__, *words]
    # the checkout first: in `tests` a folder is called kidney_seg, too
    tests = Path(training_steps.__file__).parents[1]
    paths = (environment.get("PYTHONPATH"), str(tests.parent), str(tests))
    environment = environment | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return subprocess.Popen(arguments, env=os.environ | environment, stderr=subprocess.PIPE, text=True)


def steps(folder: Path, environment: dict[str, str], *trainings: Sequence[str]) -> list[dict[str, np.ndarray]]:
    """Train 20 steps with each of the settings, one after the other, in as many processes as asked for.

    Returns for each training weights by path, losses by epoch, and `devices`.
    """
    outs = [folder / f"{index}.npz" for index in range(len(trainings))]
    words = [word for out, settings in zip(outs, trainings, strict=True) for word in (str(out), *settings, "--")]
    environment = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}", "JAX_NUM_PROCESSES": "1"} | environment
    started = [
        start(environment | {"JAX_PROCESS_ID": str(index)}, words)
        for index in range(int(environment["JAX_NUM_PROCESSES"]))
    ]
    said = [process.communicate(timeout=1200)[1] for process in started]
    assert all(process.returncode == 0 for process in started), said[0][-3000:]
    made = []
    for out in outs:
        with np.load(out) as file:
            made.append(dict(file))
        out.unlink()
    return made


def differences(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> dict[str, float]:
    assert set(first) == set(second)
    return {name: float(np.abs(first[name] - second[name]).max()) for name in first if name != "devices"}


def check_equal(one: dict[str, np.ndarray], many: dict[str, np.ndarray], devices: int, within: float) -> None:
    """Check weights, and losses ten times as closely; batch normalizations not synchronized make a difference of .8."""
    assert (one["devices"], many["devices"]) == (1, devices)
    found = differences(one, many)
    assert max(found.values()) < within
    assert max(value for name, value in found.items() if "loss" in name) < within / 10
    assert one["loss"][1] < one["loss"][0] - 0.01  # 20 steps that led somewhere


def in_double_precision(folder: Path) -> dict[str, str]:
    """Return the environment of the same code in double precision: a copy that says float64 for float32."""
    for package in ("kidney_seg", "data_prep"):
        shutil.copytree(Path(devices.__file__).parents[2] / package, folder / package)
    for name in ("losses/functional", "losses/keras_losses", "model/attention_unet", "config/model"):
        path = folder / "kidney_seg" / f"{name}.py"
        path.write_text(path.read_text().replace('"float32"', '"float64"'))
    (folder / "keras.json").write_text('{"floatx": "float64"}')
    return {"PYTHONPATH": str(folder), "KERAS_HOME": str(folder)}


def test_two_devices_under_tensorflow_end_with_the_weights_of_one(tmp_path: Path) -> None:
    # in double precision, where rounding alone is left; the norm is below that of the gradients, to test the clipping
    settings = (*PARTS, "optimizer=adam", "peak_rate=0.01", "clipnorm=0.05")
    one, two = steps(tmp_path, TENSORFLOW | in_double_precision(tmp_path), settings, (*settings, "devices=all"))
    assert {values.dtype for name, values in one.items() if name != "devices"} == {np.dtype(np.float64)}
    check_equal(one, two, 2, within=1e-9)  # in single precision .006; docs/explanation/measurements/scale.md


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed (extra `test`)")
def test_two_processes_of_two_devices_under_jax_end_with_the_weights_of_one(tmp_path: Path) -> None:
    (one,) = steps(tmp_path, JAX, ())
    (four,) = steps(tmp_path, JAX | FOUR, ("devices=all",))
    check_equal(one, four, 4, within=1e-4)


def test_what_several_devices_cannot_share_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    config = Config().with_settings(["devices=all", "batch_size=3"])
    assert choose_devices(config).count == 1
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [tf.config.LogicalDevice("x", kind)] * 2)
    for setting in ("precision=mixed_float16", "jit_compile=on"):
        name, value = setting.split("=")
        with pytest.raises(InputError, match=f"setting {name}: found {value!r} with devices=all under TensorFlow"):
            choose_devices(config.with_settings([setting]))
    monkeypatch.setattr(devices, "Mirrored", lambda names: SimpleNamespace(count=len(names)))
    with pytest.raises(InputError, match="setting batch_size: found 3 for 2 devices, expected a multiple"):
        choose_devices(config)
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(InputError, match="several devices need KERAS_BACKEND=tensorflow or jax"):
        choose_devices(config)
