"""The device that computes: which one a command uses, and the line that long commands begin with."""

from __future__ import annotations

import argparse
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from kidney_seg import tensorflow_log
from kidney_seg.tensorflow_log import quiet_tensorflow

CPU, GPU = "cpu", "gpu"
THREADS = "TF_NUM_INTRAOP_THREADS"  # TensorFlow's own variable; ONNX Runtime follows it here


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add `--device` to the options of a command."""
    parser.add_argument(
        "--device", metavar="DEVICE", type=_device, help="cpu, gpu, or gpu:N, the N-th from 0 (default: a GPU if any)"
    )


def _device(text: str) -> str:
    if not re.fullmatch(rf"{CPU}|{GPU}(:\d{{1,3}})?", text):
        raise argparse.ArgumentTypeError(f"found {text!a}, expected cpu, gpu or gpu:N, such as gpu:1")
    return text


def system_has_gpu() -> bool:
    """Return whether the driver of an NVIDIA GPU is loaded, without loading any library."""
    return tensorflow_log.NVIDIA.exists()


def threads() -> int:
    """Return how many threads the network may use: the processor's cores that this process may run on, or fewer."""
    cores = len(os.sched_getaffinity(0))
    wanted = os.environ.get(THREADS, "")
    return min(cores, int(wanted)) if wanted.isdecimal() and int(wanted) else cores


@cache
def instructions() -> frozenset[str]:
    """Return the names that Linux gives to the processor's instruction sets, such as `avx2`; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(word for line in lines if line.startswith("flags") for word in line.partition(":")[2].split())


def use_device(device: str | None) -> None:
    """Let TensorFlow or JAX compute on one device, before the first network is made; None leaves the choice to them.

    InputError if there is no such GPU for the library, or if it has already begun with others.
    """
    if device is None:
        return
    quiet_tensorflow()
    import keras

    if keras.backend.backend() == "jax":
        _use_in_jax(device)
    else:
        _use_in_tensorflow(device)


def _use_in_tensorflow(device: str) -> None:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    wanted = [] if device == CPU else [_gpu_of(gpus, device, "TensorFlow")]
    try:
        tf.config.set_visible_devices(wanted, "GPU")
    except RuntimeError:  # it has begun
        if tf.config.get_visible_devices("GPU") != wanted:
            raise InputError(f"--device {device}: TensorFlow already uses other devices in this process") from None


def _use_in_jax(device: str) -> None:
    import jax

    try:
        found = jax.devices(CPU if device == CPU else GPU)
    except RuntimeError:
        found = []
    jax.config.update("jax_default_device", found[0] if device == CPU else _gpu_of(found, device, "JAX"))


def _gpu_of(gpus: list[Any], device: str, library: str) -> Any:
    number = int(device.partition(":")[2] or 0)
    if number < len(gpus):
        return gpus[number]
    found = f"{library} finds {len(gpus)} GPUs" if gpus else f"{library} finds no GPU"
    remedy = "install the libraries of CUDA (pip install 'tensorflow[and-cuda]')" if system_has_gpu() else "use cpu"
    raise InputError(f"--device {device}: {found}; {remedy if not gpus else 'they are numbered from 0'}", code="no_gpu")


def device_name(device: str | None = None, on_cpu: bool = False) -> str:
    """Return the name of the device that a network computes on; loads TensorFlow only where there may be a GPU.

    on_cpu: the engine uses none but the processor.
    """
    if on_cpu or device == CPU or not system_has_gpu():
        return "CPU"
    quiet_tensorflow()
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return str(getattr(jax.config, "jax_default_device", None) or jax.devices()[0].device_kind)
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return "CPU (TensorFlow does not use the GPU of this system)"
    names = [str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)) for gpu in gpus]
    return f"GPU {names[0]}" + f" and {len(names) - 1} more" * (len(names) > 1)


def start_line(*, engine: str, precision: str, model: str, device: str | None = None) -> str:
    """Return the line that a long command begins with: device, engine, threads, precision, and what `model` says."""
    where = device_name(device, on_cpu=engine == "onnx")
    return f"device: {where}; engine: {engine}; threads: {threads()}; precision: {precision}; model: {model}"
