"""A network that is known: kidney above 50 HU, tumor above 150 HU, as a model file like any other."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from data_prep.geometry.network_grid import GridSettings
from kidney_seg.config.run_config import Config
from kidney_seg.model.model_file import save_model

SIZE = 16
KIDNEY_HU, TUMOR_HU = 50.0, 150.0


def threshold_model(input_slices: int = 1, size: int = SIZE, kidney_hu: float = KIDNEY_HU) -> keras.Model:
    """Return the model: softmax of three lines in HU that cross at the two limits; only the middle slice counts."""
    image = keras.Input((size, size, input_slices), name="image")
    logits = keras.layers.Conv2D(3, 1, name="logits")
    answer = keras.layers.Activation("softmax", name="head4")(logits(image))
    kernel = np.zeros((1, 1, input_slices, 3), np.float32)
    kernel[0, 0, input_slices // 2] = 0.0, 0.1, 0.2
    logits.set_weights([kernel, np.float32([0.0, -0.1 * kidney_hu, -0.1 * (kidney_hu + TUMOR_HU)])])
    return keras.Model({"image": image}, {"head4": answer})


def write_threshold_model(path: Path, *settings: str, kidney_hu: float = KIDNEY_HU) -> Path:
    """Write the model with the settings of `Config.with_settings` beside its own."""
    config = Config().with_settings([f"size={SIZE}", *settings])
    model = threshold_model(config.model.input_slices, config.model.size, kidney_hu)
    save_model(model, config, GridSettings(config.model.size), path)
    return path


def striped_hu(slices: int = 5, edge: int = 32) -> np.ndarray:
    """Return HU [z, y, x] of air, a block of kidney and in it a block of tumor; the slices differ."""
    hu = np.full((slices, edge, edge), -100, np.int16)
    hu[1:, edge // 4 : 3 * edge // 4, edge // 4 : edge // 2] = 100
    for z in range(2, slices):
        hu[z, edge // 2 : edge // 2 + z, edge // 4 : edge // 2] = 200
    return hu
