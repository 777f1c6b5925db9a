"""Predict the slices of a scan, or a whole volume slab by slab, with a Keras model or another network; no files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.geometry.network_grid import GridSettings, probabilities_to_labels, probability_to_percent, to_network
from data_prep.geometry.slice_neighbors import neighbor_indices
from data_prep.labels import TUMOR
from kidney_seg.config.model import HEADS
from kidney_seg.predict.smoothing import smooth_along_z

if TYPE_CHECKING:
    import keras

    from data_prep.geometry.volume import Volume
    from kidney_seg.config.prediction import PredictionConfig

Forward = Callable[[np.ndarray], np.ndarray]  # float32 [n, size, size, input_slices] -> [n, size, size, classes]
Watch = Callable[[Sequence[int]], Iterable[int]]  # yields what it is given, such as a progress bar

SLICES_PER_BATCH = 16
_PIXELS_AT_ONCE = 1 << 18  # on a processor: four slices of 256 x 256; 16 need 1.5 GB and are no faster


class Predictor:
    """Class probabilities of a scan's slices, batch by batch.

    Args:
        forward: the network.
        size, channels, classes: of its input and output.
        slices_per_batch: slices per call of `forward`.
        smooth_z_mm: of the probabilities of a volume, see `smooth_along_z`; slices have no positions and are not
            smoothed.
    """

    def __init__(
        self,
        forward: Forward,
        size: int,
        channels: int,
        classes: int,
        slices_per_batch: int,
        smooth_z_mm: float = 0.0,
    ):
        self.forward = forward
        self.shape = (size, size, channels)
        self.classes = classes
        self.slices_per_batch = slices_per_batch
        self.smooth_z_mm = smooth_z_mm

    @property
    def margin(self) -> int:
        """How many neighbors on either side of a slice the network sees."""
        return self.shape[-1] // 2

    def __call__(self, slices: np.ndarray, first: int = 0, last: int | None = None) -> np.ndarray:
        """Return probabilities float32 [n, size, size, classes] of the slices `first` to `last` (exclusive).

        slices: HU [slices, size, size] in the order of z, including the neighbors of those that are wanted. Beyond
        either end, the last slice is repeated.
        """
        wanted = np.arange(first, len(slices) if last is None else last)
        made = np.empty((len(wanted), *self.shape[:2], self.classes), np.float32)
        for start in range(0, len(wanted), self.slices_per_batch):
            batch = slice(start, start + self.slices_per_batch)
            seen = slices[neighbor_indices(wanted[batch], len(slices), self.shape[-1])]
            made[batch] = self.forward(np.moveaxis(seen, 1, -1).astype(np.float32, order="C"))
        return made


@dataclass(frozen=True)
class Prediction:
    """The network's result for a volume, before post-processing.

    labels: uint8 [z, y, x] on the volume's grid. tumor_confidence: mean tumor probability of the network's pixels that
    are labeled tumor, None without any. tumor_percent: tumor probability in whole percents, uint8 [z, y, x], if wanted.
    """

    labels: np.ndarray
    tumor_confidence: float | None
    tumor_percent: np.ndarray | None = None


def predict_slabs(
    predictor: Predictor, volume: Volume, settings: GridSettings, *, with_percent: bool = False, watch: Watch = iter
) -> Prediction:
    """Predict a volume in slabs of one batch, so that no float array covers the whole volume.

    Each slab is resampled to the network's grid; its probabilities (never labels) are smoothed along z if the predictor
    has `smooth_z_mm`, resampled back, and each voxel gets the most probable class. The result equals that of the whole
    volume at once, without smoothing bit for bit. `watch` receives the first slice of each slab.
    """
    voxels, spacing_mm = volume.voxels, volume.spacing_mm
    labels = np.zeros(voxels.shape, np.uint8)
    percent = np.zeros(voxels.shape, np.uint8) if with_percent else None
    confidence, tumor_pixels = 0.0, 0
    last = 0
    slabs = _network_slabs(predictor, volume, settings, watch)
    for prob in smooth_along_z(slabs, len(voxels), spacing_mm[0], predictor.smooth_z_mm):
        first, last = last, last + len(prob)
        shape_zyx = (last - first, *voxels.shape[1:])
        labels[first:last] = probabilities_to_labels(prob, shape_zyx, spacing_mm, settings)
        tumor = prob[..., TUMOR]
        if percent is not None:
            percent[first:last] = probability_to_percent(tumor, shape_zyx, spacing_mm, settings)
        called = prob.argmax(axis=-1) == TUMOR
        tumor_pixels += int(np.count_nonzero(called))
        confidence += float(tumor[called].sum(dtype=np.float64))
    return Prediction(labels, confidence / tumor_pixels if tumor_pixels else None, percent)


def _network_slabs(predictor: Predictor, volume: Volume, settings: GridSettings, watch: Watch) -> Iterator[np.ndarray]:
    """Yield the probabilities of a volume on the network's grid, batch by batch."""
    voxels = volume.voxels
    for first in watch(range(0, len(voxels), predictor.slices_per_batch)):
        last = min(first + predictor.slices_per_batch, len(voxels))
        start, end = max(0, first - predictor.margin), min(len(voxels), last + predictor.margin)
        yield predictor(to_network(voxels[start:end], volume.spacing_mm, settings), first - start, last - start)


def predict_volume(predictor: Predictor, volume: Volume, settings: GridSettings) -> np.ndarray:
    """Return labels uint8 [z, y, x] on the volume's grid, without post-processing (see `finish_labels`)."""
    return predict_slabs(predictor, volume, settings).labels


def finish_labels(labels: np.ndarray, spacing_mm: Sequence[float], settings: PredictionConfig) -> np.ndarray:
    """Return labels uint8 [z, y, x], post-processed if the settings ask for it."""
    if not settings.postprocess:
        return labels
    from kidney_seg.postprocess.distant_objects import remove_distant_objects

    return remove_distant_objects(labels, spacing_mm, **asdict(settings.rule_settings))


def make_predictor(model: keras.Model, slices_per_batch: int = SLICES_PER_BATCH) -> Predictor:
    """Return the predictor of a Keras model that `build_model` made; it uses the finest head."""
    finest = model.output[HEADS[-1]]
    size, channels = model.inputs[0].shape[-2:]
    return Predictor(keras_forward(model, slices_per_batch), size, channels, finest.shape[-1], slices_per_batch)


def keras_forward(model: keras.Model, slices_per_batch: int) -> Forward:
    """Return a Keras model's finest head as a function of any number of slices, at most `slices_per_batch` per call.

    On a processor, fewer large slices per call save memory at the same speed. A remainder is padded with zeros to a
    batch size that is already traced (1, 2, 4, ...), so that cases of one slice stay cheap and a volume has one trace.
    Calls have about equally many slices, because little of them is padding then.
    """
    import keras

    finest = keras.Model(model.inputs, model.output[HEADS[-1]])
    height, width = model.inputs[0].shape[1:3]
    at_once = slices_per_batch
    if not _has_gpu():
        at_once = max(1, min(at_once, _PIXELS_AT_ONCE // (height * width)))
    traced: set[int] = set()

    def forward(batch: np.ndarray) -> np.ndarray:
        if not len(batch):
            return np.empty((0, *finest.output.shape[1:]), np.float32)
        made = []
        for piece in np.array_split(batch, -(-len(batch) // at_once)):
            doubled = min(1 << (len(piece) - 1).bit_length(), at_once)
            count = min((size for size in traced if size >= len(piece)), default=doubled)
            traced.add(count)
            padded = np.zeros((count, *batch.shape[1:]), np.float32)
            padded[: len(piece)] = piece
            made.append(finest.predict_on_batch(padded)[: len(piece)])
        return np.concatenate(made)

    return forward


def _has_gpu() -> bool:
    import keras

    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
