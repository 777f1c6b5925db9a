"""Whole volumes, slab by slab."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from support.threshold_model import SIZE, striped_hu, threshold_model

from data_prep.geometry.network_grid import GridSettings, probabilities_to_labels, to_network
from kidney_seg.config.model import ModelConfig
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.model.attention_unet import build_model
from kidney_seg.predict.predictor import Predictor, finish_labels, make_predictor, predict_slabs, predict_volume

pytestmark = pytest.mark.network


@pytest.mark.parametrize(
    ("rows", "columns", "spacing_mm"), [(32, 32, (5, 1, 1)), (24, 32, (2, 1, 1)), (20, 10, (3, 0.8, 1.6))]
)
def test_labels_come_back_on_the_volume_s_grid(rows, columns, spacing_mm):
    voxels = np.full((3, rows, columns), -100, np.int16)
    voxels[1, 4:12, 4:8] = 100
    voxels[1, 8:12, 4:8] = 200
    volume = SimpleNamespace(voxels=voxels, spacing_mm=tuple(map(float, spacing_mm)))
    labels = predict_volume(make_predictor(threshold_model()), volume, GridSettings(SIZE))
    assert labels.shape == voxels.shape and labels.dtype == np.uint8
    assert not labels[0].any() and not labels[2].any()
    inside = labels[1, 5:11, 5:7]  # edges are blurred by half a network pixel
    assert (inside[:2] == 1).all() and (inside[-2:] == 2).all()
    assert labels[1, :2].sum() == labels[1, 14:].sum() == 0


@pytest.mark.parametrize("input_slices", [1, 3])
def test_slabs_give_the_bits_of_the_whole(input_slices):
    keras.utils.set_random_seed(0)
    model = build_model(ModelConfig(size=16, width_factor=0.1, input_slices=input_slices))
    for variable in model.get_layer("head4_logits").weights:  # so that all classes lead somewhere
        variable.assign(30 * variable if len(variable.shape) > 1 else 0 * variable)
    predictor, settings = make_predictor(model, 4), GridSettings(16)
    for slices in (1, 7, 8, 19):
        hu = np.random.default_rng(slices).integers(-500, 500, (slices, 24, 30)).astype(np.int16)
        volume = SimpleNamespace(voxels=hu, spacing_mm=(2.0, 0.9, 0.7))
        prob = predictor(to_network(hu, volume.spacing_mm, settings))
        whole = probabilities_to_labels(prob, hu.shape, volume.spacing_mm, settings)
        assert len(np.unique(whole)) > 1
        np.testing.assert_array_equal(predict_slabs(predictor, volume, settings).labels, whole)


def test_tumor_confidence_and_percent_by_hand():
    # 2 x 2 blocks of source pixels are one network pixel, all of it of one value
    prob = np.zeros((2, SIZE, SIZE, 3), np.float32)
    prob[..., 0] = 1
    prob[0, 4, 4:6] = (0.1, 0.1, 0.8), (0.2, 0.2, 0.6)
    prob[1, 9, 9] = 0.2, 0.5, 0.3  # not called tumor: does not count
    place = iter(range(2))

    def answer(batch: np.ndarray) -> np.ndarray:
        return prob[[next(place) for _ in batch]]

    volume = SimpleNamespace(voxels=np.zeros((2, 2 * SIZE, 2 * SIZE), np.int16), spacing_mm=(1.0, 1.0, 1.0))
    found = predict_slabs(Predictor(answer, SIZE, 1, 3, 1), volume, GridSettings(SIZE), with_percent=True)
    assert found.tumor_confidence == pytest.approx(0.7)
    assert found.tumor_percent.dtype == np.uint8 and found.tumor_percent.shape == volume.voxels.shape
    # bilinear by hand: a quarter from the middle of pixel (4, 4), away from its neighbors: (3/4)^2 of 80 %
    assert found.tumor_percent[0, 8, 8] == round(80 * 0.75 * 0.75)
    assert found.tumor_percent[0, 8, 9] == round((80 * 0.75 + 60 * 0.25) * 0.75)
    assert found.tumor_percent[1, 18, 18] == round(30 * 0.75 * 0.75)


def test_no_tumor_no_confidence():
    volume = SimpleNamespace(voxels=np.full((3, 32, 32), -100, np.int16), spacing_mm=(1.0, 1.0, 1.0))
    found = predict_slabs(make_predictor(threshold_model()), volume, GridSettings(SIZE))
    assert found.tumor_confidence is None and found.tumor_percent is None and not found.labels.any()


def test_slabs_can_be_watched():
    volume = SimpleNamespace(voxels=striped_hu(5), spacing_mm=(1.0, 1.0, 1.0))
    seen = []

    def watch(slabs):
        for first in slabs:
            yield first
            seen.append(first)

    predict_slabs(make_predictor(threshold_model(), 2), volume, GridSettings(SIZE), watch=watch)
    assert seen == [0, 2, 4]


def test_post_processing_follows_the_settings():
    labels = np.zeros((10, 40, 40), np.uint8)
    labels[:, :20, :20], labels[5, 39, 39] = 1, 2
    spacing_mm = (10.0, 1.0, 1.0)  # 40 mL, and a voxel 28 mm away
    assert finish_labels(labels, spacing_mm, PredictionConfig())[5, 39, 39] == 0
    assert finish_labels(labels, spacing_mm, PredictionConfig(distance_mm=30.0))[5, 39, 39] == 2
    np.testing.assert_array_equal(finish_labels(labels, spacing_mm, PredictionConfig(postprocess=False)), labels)
