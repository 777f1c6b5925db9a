"""Curves of the Focal Tversky Loss, value and slope from an empty to a perfect prediction, also by Abraham's code.

The slope of that code (Abraham and Khan 2019) is NaN for a perfect prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from kidney_seg.losses.functional import Tensor, focal_tversky, tversky_index

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VOXELS = 1000  # of the tumor, in an image of 11 times as many
POINTS = 200


def original_focal_tversky(
    y_true: Tensor, y_pred: Tensor, alpha: float = 0.7, exponent: float = 0.75, smoothing: float = 1.0
) -> Tensor:
    """Return the loss of the authors' public code, (1 - TI) ** exponent, whose slope at TI = 1 is NaN.

    Arguments and result as of `focal_tversky`. For comparison, not for training.
    """
    from keras import ops

    return ops.mean(ops.power(1.0 - tversky_index(y_true, y_pred, alpha, smoothing), exponent))


def value_and_slope(loss: Callable, y_true: np.ndarray, y_pred: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the loss and its derivative with respect to `y_pred`, under TensorFlow."""
    import tensorflow as tf

    predicted = tf.convert_to_tensor(y_pred, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(predicted)
        value = loss(tf.convert_to_tensor(y_true, tf.float32), predicted)
    return float(value), tape.gradient(value, predicted).numpy()


def along_a_training(alpha: float, exponent: float, smoothing: float = 1.0) -> dict[str, np.ndarray]:
    """Return the loss while a tumor of 1000 voxels is found, from nothing to all of it; float64 [200] each.

    `found`: probability in the tumor, 0..1. `missing`: the loss with this probability in the tumor and 0 outside;
    `spilling`: the loss with 1 in the tumor and 1 - `found` in as many voxels outside.
    """
    found = np.linspace(0.0, 1.0, POINTS)
    truth = np.zeros((1, 11 * VOXELS, 1, 1), np.float32)
    truth[:, :VOXELS] = 1.0

    def loss(inside: float, outside: float) -> float:
        predicted = np.where(truth > 0, inside, 0.0)
        predicted[:, VOXELS : 2 * VOXELS] = outside
        return float(focal_tversky(truth, predicted, alpha, exponent, smoothing))

    return {
        "found": found,
        "missing": np.array([loss(share, 0.0) for share in found]),
        "spilling": np.array([loss(1.0, 1.0 - share) for share in found]),
    }


def plot_loss(alpha: float = 0.7, exponent: float = 0.75) -> Figure:
    """Return a figure of the loss on the way to a perfect prediction, and of its slope."""
    from matplotlib.figure import Figure

    curves = along_a_training(alpha, exponent)
    figure = Figure(figsize=(8.5, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, what in (("missing", "a share of the tumor is missed"), ("spilling", "the same share outside is found")):
        left.plot(curves["found"], curves[name], label=what)
        right.plot(curves["found"], -np.gradient(curves[name], curves["found"]))
    left.set(ylabel="loss", ylim=(0, 1.02), title=f"alpha {alpha:g}, exponent {exponent:g}", xlabel="correct share")
    right.set(ylabel="decrease of the loss per share", ylim=(0, 6), xlabel="correct share")
    left.legend(frameon=False, fontsize=8)
    return figure


draw = plot_loss  # the documented name in version 0.1
