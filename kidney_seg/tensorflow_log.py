"""Import TensorFlow without its start-up messages, and sooner."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.errors import InputError
from data_prep.files.quiet import captured_stderr

NVIDIA = Path("/proc/driver/nvidia/version")  # exists while the driver of an NVIDIA GPU is loaded
BACKENDS = ("tensorflow", "jax")
_ABOUT_GPU = re.compile(r"gpu|cuda|cudnn|dlopen", re.IGNORECASE)


def quiet_tensorflow() -> None:
    """Import TensorFlow without its messages on CPU features and missing GPUs; errors are still shown.

    On a system with an NVIDIA GPU that TensorFlow does not use, its lines about this are shown.

    InputError if another backend than Keras' TensorFlow or JAX is chosen, see `check_backend`.

    A user's own TF_CPP_MIN_LOG_LEVEL is respected. The log level alone does not suffice (2.21): the first messages are
    written to file descriptor 2 before the level is read, so it is redirected during the import.
    """
    check_backend()
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or "tensorflow" in sys.modules:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "1" if NVIDIA.exists() else "3"  # warnings are about the GPU
    with captured_stderr() as lines:
        with _no_garbage_collection():
            import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")  # looks for drivers, with messages
    if NVIDIA.exists() and not gpus:
        print("warning: this system has an NVIDIA GPU, and TensorFlow does not use it:", file=sys.stderr)
        said = [line.partition("] ")[2] or line for line in lines if _ABOUT_GPU.search(line)]
        if not tf.test.is_built_with_cuda():
            said.append("this TensorFlow has no GPU support; see docs/howto/gpu.md for the one that has")
        print(*dict.fromkeys(said), sep="\n", file=sys.stderr)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Import modules without Python's search for garbage, now and at the end of the process.

    TensorFlow makes half a million objects that stay. To search them took a third of a short command's time.
    """
    atexit.register(gc.freeze)
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def check_backend() -> None:
    """Raise InputError if Keras' settings name a backend that this project does not support, or that is not installed.

    As Keras does it, KERAS_BACKEND counts before the file `keras.json`.
    """
    if "keras" in sys.modules:  # it has chosen
        return
    file = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"), "keras.json")
    try:
        named = json.loads(file.read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # Keras then takes its own default
        named = "tensorflow"
    where = "KERAS_BACKEND" if os.environ.get("KERAS_BACKEND") else str(file)
    backend = os.environ.get("KERAS_BACKEND") or named
    if backend not in BACKENDS:
        why = "which is not supported"
    elif importlib.util.find_spec(backend) is None:
        why = "which is not installed"
    else:
        return
    remedy = f"expected {' or '.join(BACKENDS)}; set KERAS_BACKEND=tensorflow"
    raise InputError(f"{where} names the Keras backend {backend!a}, {why}; {remedy}", code="keras_backend")
