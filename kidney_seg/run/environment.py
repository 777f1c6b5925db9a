"""Versions and devices that a run used."""

from __future__ import annotations

import platform
from contextlib import suppress
from typing import Any

PACKAGES = ("kidney_seg", "tensorflow", "keras", "numpy", "SimpleITK", "h5py", "scipy")
BACKEND_PACKAGES = ("jax", "jaxlib")


def environment() -> dict[str, Any]:
    """Return the versions of Python and packages, and the GPUs of this host, or its processor."""
    from importlib.metadata import PackageNotFoundError, version

    import keras

    under_jax = keras.backend.backend() == "jax"
    versions = dict.fromkeys(PACKAGES + (BACKEND_PACKAGES if under_jax else ()), "unknown")
    for package in versions:
        for name in (package, f"{package}-cpu"):  # TensorFlow without CUDA is a distribution of its own
            with suppress(PackageNotFoundError):
                versions[package] = version(name)
                break
    if under_jax:
        import jax

        gpus = [device.device_kind for device in jax.local_devices() if device.platform == "gpu"]
    else:
        import tensorflow as tf

        gpus = [
            tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
            for gpu in tf.config.list_physical_devices("GPU")
        ]
    return {"python": platform.python_version(), "versions": versions, "devices": gpus or [platform.machine()]}
