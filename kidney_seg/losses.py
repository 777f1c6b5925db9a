"""Focal Tversky Loss, safe at every corner. Pure functions on `keras.ops`, a class around them that serializes.

Source: Abraham and Khan, "A Novel Focal Tversky Loss Function with Improved Attention U-Net for Lesion Segmentation"
(reference 1 of the paper) and its public code; the paper takes it at all four heads.
"""

from __future__ import annotations

import keras
from keras import ops

from kidney_seg.config import HEADS, LossConfig, ModelConfig

FLOOR = 1e-6  # below this 1 - TI goes on linearly: the power's slope has no bound at 0 (NaN in the original code)


def tversky_complement(y_true, y_pred, alpha: float = 0.7, smoothing: float = 1.0):
    """Return 1 - TI of every class, float32 [classes], in [0, 1).

    TI = (TP + s) / (TP + alpha * FN + (1 - alpha) * FP + s), the sums over the batch and both axes together.
    `y_true`, `y_pred`: [batch, height, width, classes] (or any shape with classes last), shares and probabilities in
    0..1 of any float type; they are cast to float32, where a sum over a large batch cannot overflow. A class absent in
    both gives 0. Written as the ratio of the errors, so that nothing cancels near TI = 1.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    axes = tuple(range(len(y_pred.shape) - 1))
    true_positive = ops.sum(y_true * y_pred, axis=axes)
    false_negative = ops.sum(y_true * (1.0 - y_pred), axis=axes)
    false_positive = ops.sum((1.0 - y_true) * y_pred, axis=axes)
    errors = alpha * false_negative + (1.0 - alpha) * false_positive
    return errors / (true_positive + errors + smoothing)


def tversky_index(y_true, y_pred, alpha: float = 0.7, smoothing: float = 1.0):
    """Return the Tversky index TI of every class, float32 [classes]; arguments as for `tversky_complement`."""
    return 1.0 - tversky_complement(y_true, y_pred, alpha, smoothing)


def focal_tversky(y_true, y_pred, alpha: float = 0.7, exponent: float = 0.75, smoothing: float = 1.0):
    """Return the Focal Tversky Loss (1 - TI) ** exponent, the mean over classes; a float32 scalar in [0, 1).

    Arguments as for `tversky_complement`. `exponent` is 1/gamma of the authors' paper: 0.75 for their gamma = 4/3.
    Below 1e-6 the power is replaced by its chord to 0, so that the gradient stays finite at a perfect prediction and
    never vanishes where a voxel is wrong.

    >>> import numpy as np
    >>> truth = np.array([1.0, 1.0, 0.0, 0.0]).reshape(1, 2, 2, 1)
    >>> round(float(focal_tversky(truth, truth * 0 + 0.5)), 4)  # TP 1, FN 1, FP 1: TI = 2 / 3
    0.4387
    """
    complement = tversky_complement(y_true, y_pred, alpha, smoothing)
    power = ops.power(ops.maximum(complement, FLOOR), exponent)
    chord = complement * FLOOR ** (exponent - 1.0)
    return ops.mean(ops.where(complement < FLOOR, chord, power))


def as_regions(classes):
    """Turn [..., background, kidney, tumor] into the nested regions [..., kidney+tumor, tumor] of the KiTS scores."""
    return ops.stack([classes[..., 1] + classes[..., 2], classes[..., 2]], axis=-1)


@keras.saving.register_keras_serializable(package="kidney_seg")
class FocalTversky(keras.losses.Loss):
    """Focal Tversky Loss of one head, for `model.compile`.

    `y_true`: one-hot (or soft) classes, `y_pred`: probabilities, both [batch, height, width, classes]. A head of one
    class (the authors' sigmoid) is taken as it is. `target`, `background` and `cross_entropy` as in `LossConfig`;
    exponent 1 is the plain Tversky loss.
    """

    def __init__(
        self,
        alpha: float = 0.7,
        exponent: float = 0.75,
        smoothing: float = 1.0,
        target: str = "classes",
        background: bool = False,
        cross_entropy: float = 0.0,
        name: str = "focal_tversky",
        **kwargs,
    ):
        # The value is one number for the whole batch; there is nothing left to reduce.
        super().__init__(name=name, **{"reduction": None, **kwargs})
        self.settings = {
            "alpha": alpha,
            "exponent": exponent,
            "smoothing": smoothing,
            "target": target,
            "background": background,
            "cross_entropy": cross_entropy,
        }

    def call(self, y_true, y_pred):
        """Return the scalar loss of the batch."""
        own = self.settings
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        true, predicted = y_true, y_pred
        if y_pred.shape[-1] > 1:
            if own["target"] == "regions":
                true, predicted = as_regions(y_true), as_regions(y_pred)
            elif not own["background"]:
                true, predicted = y_true[..., 1:], y_pred[..., 1:]
        loss = focal_tversky(true, predicted, own["alpha"], own["exponent"], own["smoothing"])
        if own["cross_entropy"]:
            loss = loss + own["cross_entropy"] * ops.mean(ops.categorical_crossentropy(y_true, y_pred))
        return loss

    def get_config(self) -> dict:
        return {**super().get_config(), **self.settings}


def build_losses(config: LossConfig, model: ModelConfig) -> tuple[dict[str, FocalTversky], dict[str, float]]:
    """Return the loss and the weight of every head, by the names of the model's outputs."""
    weights = dict(zip(HEADS, config.head_weights, strict=True))
    losses = {}
    for head in model.heads:
        plain = config.last_head == "tversky" and head == HEADS[-1]
        losses[head] = FocalTversky(
            alpha=config.alpha,
            exponent=1.0 if plain else config.exponent,
            smoothing=config.smoothing,
            target=config.target,
            background=config.background,
            cross_entropy=config.cross_entropy,
            name=f"focal_tversky_{head}",
        )
    return losses, {head: weights[head] for head in losses}
