"""Focal Tversky Loss, safe at every corner, and the losses to compare it with.

Pure functions on `keras.ops`, and classes around them that serialize. Source: Abraham and Khan, "A Novel Focal Tversky
Loss Function with Improved Attention U-Net for Lesion Segmentation" (reference 1 of the paper) and its public code; the
paper takes it at all four heads.

In all functions `y_true` and `y_pred` are [batch, height, width, classes] (or any shape with the samples first and the
classes last), shares and probabilities in 0..1 of any float type. They are cast to float32, where sums over a large
batch cannot overflow.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kidney_seg.config import HEADS, LossConfig, ModelConfig
from kidney_seg.devices import replicas, sum_over_replicas
from kidney_seg.sections import refuse_gamma

Tensor = Any  # of any backend, or a numpy array: Keras has no types for them

FLOOR = 1e-6  # below this 1 - TI goes on linearly: the power's slope has no bound at 0 (NaN in the original code)
SMALLEST = 1e-7  # probability below which -log(p) goes on as its tangent


def tversky_complement(
    y_true: Tensor, y_pred: Tensor, alpha: float = 0.7, smoothing: float = 1.0, sums: str = "batch"
) -> Tensor:
    """Return 1 - TI of every class, in 0..1: float32 [classes], or [batch, classes] with `sums="sample"`.

    TI = (TP + s) / (TP + alpha * FN + (1 - alpha) * FP + s), the sums over the batch and both axes together, or over
    each sample; s, `smoothing`, is above 0. A class absent in both gives 0. Where several devices share a batch, it is
    the sums over all of it. Written as the ratio of the errors, so that nothing cancels near TI = 1.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    axes = tuple(range(0 if sums == "batch" else 1, len(y_pred.shape) - 1))
    true_positive = ops.sum(y_true * y_pred, axis=axes)
    false_negative = ops.sum(y_true * (1.0 - y_pred), axis=axes)
    false_positive = ops.sum((1.0 - y_true) * y_pred, axis=axes)
    if sums == "batch":
        counts = sum_over_replicas([true_positive, false_negative, false_positive])
        true_positive, false_negative, false_positive = counts
    errors = alpha * false_negative + (1.0 - alpha) * false_positive
    return errors / (true_positive + errors + smoothing)


def tversky_index(
    y_true: Tensor, y_pred: Tensor, alpha: float = 0.7, smoothing: float = 1.0, sums: str = "batch"
) -> Tensor:
    """Return the Tversky index TI of every class; arguments and shape as of `tversky_complement`."""
    return 1.0 - tversky_complement(y_true, y_pred, alpha, smoothing, sums)


def focal_tversky(
    y_true: Tensor,
    y_pred: Tensor,
    alpha: float = 0.7,
    exponent: float = 0.75,
    smoothing: float = 1.0,
    sums: str = "batch",
    *,
    gamma: Any = None,
) -> Tensor:
    """Return the Focal Tversky Loss (1 - TI) ** exponent, the mean over classes; a float32 scalar in 0..1.

    Arguments as for `tversky_complement`. `exponent` is the power itself, 1/gamma of the authors' paper: 0.75 for their
    gamma = 4/3; 1 gives the Tversky loss. `gamma` is refused with an InputError that says what to give instead.
    Below 1e-6 the power is replaced by its chord to 0, so that the gradient stays finite at a perfect prediction and
    never vanishes where a voxel is wrong.

    >>> import numpy as np
    >>> truth = np.array([1.0, 1.0, 0.0, 0.0]).reshape(1, 2, 2, 1)
    >>> round(float(focal_tversky(truth, truth * 0 + 0.5)), 4)  # TP 1, FN 1, FP 1: TI = 2 / 3
    0.4387
    """
    if gamma is not None:
        refuse_gamma(gamma)
    complement = tversky_complement(y_true, y_pred, alpha, smoothing, sums)
    power = ops.power(ops.maximum(complement, FLOOR), exponent)
    chord = complement * FLOOR ** (exponent - 1.0)
    return ops.mean(ops.where(complement < FLOOR, chord, power))


def soft_dice_loss(y_true: Tensor, y_pred: Tensor, smoothing: float = 1.0, sums: str = "batch") -> Tensor:
    """Return 1 - (2 TP + s) / (2 TP + FN + FP + s), the mean over classes; a float32 scalar in 0..1.

    That is the Tversky loss with alpha 0.5 and half the smoothing. A class absent in both gives 0.
    """
    return ops.mean(tversky_complement(y_true, y_pred, alpha=0.5, smoothing=smoothing / 2, sums=sums))


def cross_entropy(y_true: Tensor, y_pred: Tensor, activation: str = "softmax") -> Tensor:
    """Return the cross-entropy, the mean over pixels; a float32 scalar, 0 or more.

    `activation`: what made `y_pred`; `softmax`: one sum over the classes, `sigmoid`: each class by itself (and the mean
    over classes). Below 1e-7 the logarithm goes on as its tangent: large, but finite, and never without a slope.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    bits = y_true * _minus_log(y_pred)
    if activation == "sigmoid":
        return ops.mean(bits + (1.0 - y_true) * _minus_log(1.0 - y_pred))
    return ops.mean(ops.sum(bits, axis=-1))


def _minus_log(probability: Tensor) -> Tensor:
    tangent = (SMALLEST - probability) / SMALLEST
    return ops.where(probability < SMALLEST, tangent, 0.0) - ops.log(ops.maximum(probability, SMALLEST))


def as_regions(classes: Tensor) -> Tensor:
    """Turn [..., background, kidney, tumor] into the nested regions [..., kidney+tumor, tumor] of the KiTS scores."""
    return ops.stack([classes[..., 1] + classes[..., 2], classes[..., 2]], axis=-1)


class _HeadLoss(keras.losses.Loss):
    """The loss of one head, for `model.compile`: one number for the whole batch, in float32 whatever comes in.

    `y_true`: one-hot (or soft) classes, `y_pred`: probabilities, both [batch, height, width, classes]. `activation`,
    `target`, `background`, `sums` as in `ModelConfig` and `LossConfig`. A head of one class (the authors' sigmoid) is
    taken as it is.
    """

    def __init__(
        self,
        activation: str = "softmax",
        target: str = "classes",
        background: bool = False,
        sums: str = "batch",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        # One number for the batch: there is nothing left to reduce.
        super().__init__(name=name, **{"reduction": None, "dtype": "float32", **kwargs})
        self.settings: dict[str, Any] = {
            "activation": activation,
            "target": target,
            "background": background,
            "sums": sums,
        }

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> Tensor:
        loss = super().__call__(y_true, y_pred, sample_weight)
        shared = replicas()
        return loss if shared == 1 else loss / shared  # Keras adds up the devices' losses and gradients

    def compared(self, classes: Tensor) -> Tensor:
        """Return of [..., classes] what enters an overlap measure, one channel each."""
        if classes.shape[-1] == 1:
            return classes
        if self.settings["target"] == "regions":
            return as_regions(classes)
        return classes if self.settings["background"] else classes[..., 1:]

    def get_config(self) -> dict:
        return {**super().get_config(), **self.settings}


@keras.saving.register_keras_serializable(package="kidney_seg")
class FocalTversky(_HeadLoss):
    """`focal_tversky` of one head, plus `weight_cross_entropy` times `cross_entropy`; exponent 1 is the Tversky loss.

    `alpha`, `exponent`, `smoothing` as in `LossConfig`, the others as in every loss of a head. `gamma` is refused, see
    `focal_tversky`.
    """

    def __init__(
        self,
        alpha: float = 0.7,
        exponent: float = 0.75,
        smoothing: float = 1.0,
        weight_cross_entropy: float = 0.0,
        *,
        gamma: Any = None,
        name: str = "focal_tversky",
        **kwargs: Any,
    ) -> None:
        if gamma is not None:
            refuse_gamma(gamma)
        super().__init__(name=name, **kwargs)
        self.settings |= {
            "alpha": alpha,
            "exponent": exponent,
            "smoothing": smoothing,
            "weight_cross_entropy": weight_cross_entropy,
        }

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the scalar loss of the batch."""
        own = self.settings
        shape = (own["alpha"], own["exponent"], own["smoothing"], own["sums"])
        loss = focal_tversky(self.compared(y_true), self.compared(y_pred), *shape)
        if own["weight_cross_entropy"]:
            loss = loss + own["weight_cross_entropy"] * cross_entropy(y_true, y_pred, own["activation"])
        return loss


@keras.saving.register_keras_serializable(package="kidney_seg")
class DiceCrossEntropy(_HeadLoss):
    """`soft_dice_loss` plus `cross_entropy` of one head, the usual loss of segmentation networks, to compare with."""

    def __init__(self, smoothing: float = 1.0, name: str = "dice_cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.settings |= {"smoothing": smoothing}

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the scalar loss of the batch."""
        own = self.settings
        dice = soft_dice_loss(self.compared(y_true), self.compared(y_pred), own["smoothing"], own["sums"])
        return dice + cross_entropy(y_true, y_pred, own["activation"])


@keras.saving.register_keras_serializable(package="kidney_seg")
class CrossEntropy(_HeadLoss):
    """`cross_entropy` of one head, over all classes whatever `target` and `background` say; to compare with."""

    def __init__(self, name: str = "cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the scalar loss of the batch."""
        return cross_entropy(y_true, y_pred, self.settings["activation"])


def build_losses(config: LossConfig, model: ModelConfig) -> tuple[dict[str, keras.losses.Loss], dict[str, float]]:
    """Return the loss and the weight of every head, by the names of the model's outputs."""
    weights = dict(zip(HEADS, config.head_weights, strict=True))
    common = {
        "activation": model.activation,
        "target": config.target,
        "background": config.background,
        "sums": config.sums,
    }
    losses = {}
    for head in model.heads:
        name = f"{config.loss_function}_{head}"
        if config.loss_function == "cross_entropy":
            losses[head] = CrossEntropy(name=name, **common)
        elif config.loss_function == "dice_cross_entropy":
            losses[head] = DiceCrossEntropy(smoothing=config.smoothing, name=name, **common)
        else:
            plain = config.loss_function == "tversky" or (config.last_head == "tversky" and head == HEADS[-1])
            losses[head] = FocalTversky(
                alpha=config.alpha,
                exponent=1.0 if plain else config.exponent,
                smoothing=config.smoothing,
                weight_cross_entropy=config.cross_entropy,
                name=name,
                **common,
            )
    return losses, {head: weights[head] for head in losses}
