"""A look at Focal Tversky Loss: its value and slope from a blank to a perfect prediction, and the original's NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from kidney_seg.losses.functional import Tensor, focal_tversky, tversky_index

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VOXELS = 1000  # of a tumor, in an image of ten times as many
POINTS = 200


def original_focal_tversky(
    y_true: Tensor, y_pred: Tensor, alpha: float = 0.7, exponent: float = 0.75, smoothing: float = 1.0
) -> Tensor:
    """Return the loss as the public code has it, (1 - TI) ** exponent, whose slope at TI = 1 is no number.

    Arguments and result as of `kidney_seg.losses.functional.focal_tversky`. To be looked at, never for training.
    """
    from keras import ops

    return ops.mean(ops.power(1.0 - tversky_index(y_true, y_pred, alpha, smoothing), exponent))


def value_and_slope(loss: Callable, y_true: np.ndarray, y_pred: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the loss and its derivative by every predicted probability, under TensorFlow."""
    import tensorflow as tf

    predicted = tf.convert_to_tensor(y_pred, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(predicted)
        value = loss(tf.convert_to_tensor(y_true, tf.float32), predicted)
    return float(value), tape.gradient(value, predicted).numpy()


def along_a_training(alpha: float, exponent: float, smoothing: float = 1.0) -> dict[str, np.ndarray]:
    """Return what the loss does while a tumor of 1000 voxels is found, from nothing to all of it.

    `found`: share of the tumor's probability, float64 [200] in 0..1. `missing`: the loss while only that share is found
    and nothing else; `spilling`: the loss while all is found, and as much outside of it as is missing in the other.
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


def draw(alpha: float = 0.7, exponent: float = 0.75) -> Figure:
    """Return the loss on the way to a perfect prediction, and how steep it is there."""
    from matplotlib.figure import Figure

    curves = along_a_training(alpha, exponent)
    figure = Figure(figsize=(8.5, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, what in (
        ("missing", "a share of the tumor is missed"),
        ("spilling", "as much beside it is called tumor"),
    ):
        left.plot(curves["found"], curves[name], label=what)
        right.plot(curves["found"], -np.gradient(curves[name], curves["found"]))
    left.set(
        xlabel="share that is right", ylabel="loss", ylim=(0, 1.02), title=f"alpha {alpha:g}, exponent {exponent:g}"
    )
    right.set(xlabel="share that is right", ylabel="fall of the loss by share", ylim=(0, 6))
    left.legend(frameon=False, fontsize=8)
    return figure
