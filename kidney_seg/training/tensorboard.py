"""Curves and pictures for TensorBoard (`tensorboard --logdir RUN/logs`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Board:
    """The log of one attempt, which is a separate curve. `step` counts the steps of the whole run."""

    def __init__(self, folder: str | Path):
        import tensorflow as tf

        self._tf = tf
        self._writer = tf.summary.create_file_writer(os.fsencode(folder))  # as text it must be UTF-8

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Write numbers by name, except None."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                if value is not None:
                    self._tf.summary.scalar(name, value)
        self._writer.flush()

    def picture(self, step: int, name: str, png: Path) -> None:
        """Write a PNG file as an image."""
        pixels = self._tf.io.decode_png(png.read_bytes(), channels=3)
        with self._writer.as_default(step=step):
            self._tf.summary.image(name, np.asarray(pixels)[None])
        self._writer.flush()

    def close(self) -> None:
        """Close the log's file."""
        self._writer.close()
