"""Several devices that share a batch end where one device ends."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import training_steps

pytestmark = pytest.mark.slow

needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed (extra `test`)")
TENSORFLOW = {"KERAS_BACKEND": "tensorflow", "CPU_DEVICES": "2"}
JAX = {
    "KERAS_BACKEND": "jax",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    "CPU_DEVICES": "",
}


def run(out: Path, environment: dict[str, str], *settings: str) -> subprocess.CompletedProcess:
    arguments = [sys.executable, training_steps.__file__, str(out), *settings]
    return subprocess.run(arguments, env=os.environ | environment, capture_output=True, text=True)


def steps(folder: Path, environment: dict[str, str], *settings: str) -> dict[str, np.ndarray]:
    """Train 20 steps in a process of its own; returns weights by path, losses by epoch, and `devices`."""
    out = folder / ("-".join([environment["KERAS_BACKEND"], *settings]) + ".npz")
    done = run(out, environment, *settings)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(out) as made:
        return dict(made)


def largest_difference(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> float:
    assert set(first) == set(second)
    return max(float(np.abs(first[name] - second[name]).max()) for name in first if name != "devices")


@pytest.mark.parametrize("environment", [TENSORFLOW, pytest.param(JAX, marks=needs_jax)], ids=["tensorflow", "jax"])
def test_two_devices_end_with_the_weights_of_one(environment: dict[str, str], tmp_path: Path) -> None:
    one = steps(tmp_path, environment)
    two = steps(tmp_path, environment, "devices=all")
    other = steps(tmp_path, environment, "batch_size=2")
    assert (one["devices"], two["devices"]) == (1, 2)
    assert largest_difference(one, two) < 1e-4
    assert largest_difference(one, other) > 1e-2  # so that the equality says something
