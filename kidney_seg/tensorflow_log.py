"""Commands speak for themselves: TensorFlow's notes about the machine stay out of the way."""

from __future__ import annotations

import os
import sys


def quiet_tensorflow() -> None:
    """Import TensorFlow without its notes on CPU features and missing GPUs; errors of ours or Python's still show.

    A user who has set TF_CPP_MIN_LOG_LEVEL gets what that asks for. The log level alone does not do (2.21): the first
    notes are written to file descriptor 2 before the level is read, so that is turned away during the import.
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

        tf.config.list_physical_devices("GPU")  # looks for drivers, and complains
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
