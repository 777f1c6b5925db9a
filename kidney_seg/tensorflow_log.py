"""Suppress TensorFlow's start-up messages."""

from __future__ import annotations

import os
import sys


def quiet_tensorflow() -> None:
    """Import TensorFlow without its messages on CPU features and missing GPUs; errors are still shown.

    A user's own TF_CPP_MIN_LOG_LEVEL is respected. The log level alone does not suffice (2.21): the first messages are
    written to file descriptor 2 before the level is read, so it is redirected during the import.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or "tensorflow" in sys.modules:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")  # looks for drivers, with messages
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
