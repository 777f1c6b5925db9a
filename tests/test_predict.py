"""Whole volumes through a network that is known: one that thresholds HU."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from data_prep.grid import GridSettings
from kidney_seg.config import PredictionConfig
from kidney_seg.predict import finish_labels, make_predictor, predict_volume

SIZE = 16


@pytest.fixture(scope="module")
def threshold():
    """Answers kidney above 50 HU and tumor above 150 HU, with certainty."""
    image = keras.Input((SIZE, SIZE, 1), name="image")
    kidney, tumor = (keras.layers.Rescaling(1.0, -limit)(image) for limit in (50.0, 150.0))
    steps = [keras.ops.cast(score > 0, "float32") for score in (kidney, tumor)]
    answer = keras.ops.concatenate([1 - steps[0], steps[0] - steps[1], steps[1]], axis=-1)
    return keras.Model({"image": image}, {"head4": answer})


def test_batches_do_not_change_the_answer(threshold):
    slices = np.random.default_rng(0).integers(-100, 300, (5, SIZE, SIZE)).astype(np.int16)
    expected = np.stack([slices <= 50, (slices > 50) & (slices <= 150), slices > 150], axis=-1)
    for slices_per_batch in (1, 2, 16):
        made = make_predictor(threshold, slices_per_batch)(slices)
        assert made.dtype == np.float32
        np.testing.assert_array_equal(made, expected)
    assert make_predictor(threshold)(slices[:0]).shape == (0, SIZE, SIZE, 3)


def test_neighbors_come_from_the_same_scan():
    image = keras.Input((SIZE, SIZE, 5), name="image")
    channels = keras.layers.Activation("linear")(image)  # answers with what it sees
    model = keras.Model({"image": image}, {"head4": channels})
    slices = np.arange(6, dtype=np.int16)[:, None, None] * np.ones((1, SIZE, SIZE), np.int16)
    for slices_per_batch in (1, 4, 16):
        made = make_predictor(model, slices_per_batch)(slices)[:, 3, 3]
        assert made[0].tolist() == [0, 0, 0, 1, 2]
        assert made[3].tolist() == [1, 2, 3, 4, 5]
        assert made[5].tolist() == [3, 4, 5, 5, 5]


@pytest.mark.parametrize(
    ("rows", "columns", "spacing_mm"), [(32, 32, (5, 1, 1)), (24, 32, (2, 1, 1)), (20, 10, (3, 0.8, 1.6))]
)
def test_labels_come_back_on_the_volume_s_grid(threshold, rows, columns, spacing_mm):
    voxels = np.full((3, rows, columns), -100, np.int16)
    voxels[1, 4:12, 4:8] = 100
    voxels[1, 8:12, 4:8] = 200
    volume = SimpleNamespace(voxels=voxels, spacing_mm=tuple(map(float, spacing_mm)))
    labels = predict_volume(make_predictor(threshold), volume, GridSettings(SIZE))
    assert labels.shape == voxels.shape and labels.dtype == np.uint8
    assert not labels[0].any() and not labels[2].any()
    inside = labels[1, 5:11, 5:7]  # edges are blurred by half a network pixel
    assert (inside[:2] == 1).all() and (inside[-2:] == 2).all()
    assert labels[1, :2].sum() == labels[1, 14:].sum() == 0


def test_post_processing_follows_the_settings():
    labels = np.zeros((10, 40, 40), np.uint8)
    labels[:, :20, :20], labels[5, 39, 39] = 1, 2
    spacing_mm = (10.0, 1.0, 1.0)  # 40 mL, and a voxel 28 mm away
    assert finish_labels(labels, spacing_mm, PredictionConfig())[5, 39, 39] == 0
    assert finish_labels(labels, spacing_mm, PredictionConfig(distance_mm=30.0))[5, 39, 39] == 2
    np.testing.assert_array_equal(finish_labels(labels, spacing_mm, PredictionConfig(postprocess=False)), labels)
