"""Commands speak for themselves: TensorFlow's notes about the machine stay out of the way."""

from __future__ import annotations

import os


def quiet_tensorflow() -> None:
    """Raise TensorFlow's log level to errors, unless the user has set it. Call before TensorFlow is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
