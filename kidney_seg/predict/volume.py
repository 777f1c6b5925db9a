"""A whole CT volume through the network, slab by slab: labels on the volume's own grid, in little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.geometry.network_grid import GridSettings, probabilities_to_labels, probability_to_percent, to_network
from data_prep.labels import CLASS_NAMES
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.predict.predictor import Predictor

if TYPE_CHECKING:
    from data_prep.geometry.volume import Volume

TUMOR = CLASS_NAMES.index("tumor")


@dataclass(frozen=True)
class Prediction:
    """What the network says of a volume, before the paper's rule.

    labels: uint8 [z, y, x] on the volume's grid. tumor_confidence: mean probability of tumor over the network's pixels
    that it calls tumor, None where there is none. tumor_percent: probability of tumor in whole percents, uint8
    [z, y, x], where it was asked for.
    """

    labels: np.ndarray
    tumor_confidence: float | None
    tumor_percent: np.ndarray | None = None


def predict_slabs(
    predictor: Predictor,
    volume: Volume,
    settings: GridSettings,
    *,
    with_percent: bool = False,
    watch: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> Prediction:
    """Predict a volume in slabs of one batch, none of which is kept: float arrays never cover the volume.

    Each slab is brought to the network's grid; its probabilities (never labels) go back to the volume's, where the
    most probable class is taken. The result is bit for bit that of the whole volume at once, in the same batches.
    `watch` is given the slabs' first slices and hands them on one by one, as a progress bar does.
    """
    voxels, spacing_mm = volume.voxels, volume.spacing_mm
    labels = np.zeros(voxels.shape, np.uint8)
    percent = np.zeros(voxels.shape, np.uint8) if with_percent else None
    confidence, tumor_pixels = 0.0, 0
    for first in watch(range(0, len(voxels), predictor.slices_per_batch)):
        last = min(first + predictor.slices_per_batch, len(voxels))
        start, end = max(0, first - predictor.margin), min(len(voxels), last + predictor.margin)
        slices = to_network(voxels[start:end], spacing_mm, settings)
        prob = predictor(slices, first - start, last - start)
        shape_zyx = (last - first, *voxels.shape[1:])
        labels[first:last] = probabilities_to_labels(prob, shape_zyx, spacing_mm, settings)
        tumor = prob[..., TUMOR]
        if percent is not None:
            percent[first:last] = probability_to_percent(tumor, shape_zyx, spacing_mm, settings)
        called = prob.argmax(axis=-1) == TUMOR
        tumor_pixels += int(np.count_nonzero(called))
        confidence += float(tumor[called].sum(dtype=np.float64))
    return Prediction(labels, confidence / tumor_pixels if tumor_pixels else None, percent)


def predict_volume(predictor: Predictor, volume: Volume, settings: GridSettings) -> np.ndarray:
    """Return labels uint8 [z, y, x] on the volume's grid, without the paper's post-processing; see `finish_labels`."""
    return predict_slabs(predictor, volume, settings).labels


def finish_labels(labels: np.ndarray, spacing_mm: Sequence[float], settings: PredictionConfig) -> np.ndarray:
    """Apply the paper's post-processing where the settings ask for it; labels uint8 [z, y, x]."""
    if not settings.postprocess:
        return labels
    from kidney_seg.postprocess.distant_objects import remove_distant_objects

    return remove_distant_objects(labels, spacing_mm, settings.distance_mm, settings.kidney_ml)
