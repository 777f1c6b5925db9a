"""Focal Tversky Loss, with finite gradients everywhere, and the losses to compare it with.

Pure functions on `keras.ops`; `keras_losses` has the Keras classes. Source: Abraham and Khan, "A Novel Focal Tversky
Loss Function with Improved Attention U-Net for Lesion Segmentation" (reference 1 of the paper) and its public code;
the paper uses it at all four heads.

In all functions `y_true` and `y_pred` are [batch, height, width, classes] (or any shape with the samples first and the
classes last), in 0..1, of any float type. They are cast to float32, so that sums over a large batch do not overflow.
"""

from __future__ import annotations

from typing import Any

from keras import backend, ops

from kidney_seg.config.checks import refuse_gamma
from kidney_seg.losses.device_sums import sum_over_replicas

Tensor = Any  # of any backend, or a numpy array: Keras has no types for them

FLOOR = 1e-6  # below this the power of 1 - TI is linear: its slope is infinite at 0 (NaN in the original code)
STEEPEST = 3e4  # slope of the loss by a probability of float16, whose largest number is 65504
SMALLEST = 1e-7  # probability below which -log(p) continues as its tangent


def as_float32(values: Tensor) -> Tensor:
    """Return values in float32. The slopes that return to float16 are limited to +-3e4, so that none is infinite."""
    half = backend.standardize_dtype(getattr(values, "dtype", "float32")) == "float16"
    cast = ops.cast(values, "float32")
    return _limited(cast) if half else cast


@ops.custom_gradient
def _limited(values: Tensor) -> Any:
    def slopes(*args: Tensor, upstream: Tensor | None = None) -> Tensor:
        return ops.clip(args[0] if upstream is None else upstream, -STEEPEST, STEEPEST)

    return values, slopes


def tversky_complement(
    y_true: Tensor, y_pred: Tensor, alpha: float = 0.7, smoothing: float = 1.0, sums: str = "batch"
) -> Tensor:
    """Return 1 - TI per class, in 0..1: float32 [classes], or [batch, classes] with `sums="sample"`.

    TI = (TP + s) / (TP + alpha * FN + (1 - alpha) * FP + s), computed as a ratio of errors, so that nothing cancels
    near TI = 1. As in the paper, `alpha` weighs false negatives. In MONAI's `TverskyLoss`, `alpha` weighs false
    positives and `beta` false negatives, so its (alpha, beta) = (0.3, 0.7) is 0.7 here. `keras.losses.Tversky` says the
    same in its docstring, but its code (Keras 3.15) weighs false negatives by `alpha`, as here.

    A class absent in both gives 0. `smoothing` is s, above 0; `sums`: over the whole "batch", on all
    devices that share it, or over each "sample".
    """
    y_true, y_pred = as_float32(y_true), as_float32(y_pred)
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
    """Return the Tversky index TI per class; arguments and shape as of `tversky_complement`."""
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

    Below 1e-6 the power is replaced by its chord to 0, so that the gradient is finite at a perfect prediction and
    nonzero if any voxel is wrong.

    Args:
        y_true, y_pred, alpha, smoothing, sums: as for `tversky_complement`.
        exponent: the power itself, 1/gamma of the authors' paper: 0.75 for their gamma = 4/3; 1 is the Tversky loss.
        gamma: refused with an InputError that names the exponent to give instead.

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

    It is the Tversky loss with alpha 0.5 and half the smoothing. A class absent in both gives 0.
    """
    return ops.mean(tversky_complement(y_true, y_pred, alpha=0.5, smoothing=smoothing / 2, sums=sums))


def cross_entropy(y_true: Tensor, y_pred: Tensor, activation: str = "softmax") -> Tensor:
    """Return the cross-entropy, the mean over pixels; a float32 scalar, 0 or more.

    `activation` of `y_pred`: `softmax` sums over the classes, `sigmoid` takes the mean of binary cross-entropies. Below
    1e-7 the logarithm continues as its tangent: large, but finite, with a nonzero slope.
    """
    y_true, y_pred = as_float32(y_true), as_float32(y_pred)
    bits = y_true * _minus_log(y_pred)
    if activation == "sigmoid":
        return ops.mean(bits + (1.0 - y_true) * _minus_log(1.0 - y_pred))
    return ops.mean(ops.sum(bits, axis=-1))


def _minus_log(probability: Tensor) -> Tensor:
    tangent = (SMALLEST - probability) / SMALLEST
    return ops.where(probability < SMALLEST, tangent, 0.0) - ops.log(ops.maximum(probability, SMALLEST))


def as_regions(classes: Tensor) -> Tensor:
    """Return the nested regions [..., kidney+tumor, tumor] of the KiTS scores for [..., background, kidney, tumor]."""
    return ops.stack([classes[..., 1] + classes[..., 2], classes[..., 2]], axis=-1)
