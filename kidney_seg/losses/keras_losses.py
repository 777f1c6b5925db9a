"""The losses at the four supervised outputs (heads), as Keras losses."""

from __future__ import annotations

from typing import Any

import keras

from kidney_seg.config.checks import refuse_gamma
from kidney_seg.config.loss import LossConfig
from kidney_seg.config.model import HEADS, ModelConfig
from kidney_seg.losses.device_sums import replicas
from kidney_seg.losses.functional import Tensor, as_float32, as_regions, cross_entropy, focal_tversky, soft_dice_loss


class _HeadLoss(keras.losses.Loss):
    """The loss of one head, for `model.compile`: one float32 number for the whole batch.

    `y_true`: one-hot (or soft) classes, `y_pred`: probabilities, both [batch, height, width, classes]. `activation`,
    `target`, `background`, `sums` as in `ModelConfig` and `LossConfig`; a head of one class (the authors' sigmoid)
    ignores `target` and `background`.
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
        super().__init__(name=name, **{"reduction": None, "dtype": "float32", **kwargs})  # a scalar: nothing to reduce
        self.settings: dict[str, Any] = {"activation": activation, "target": target, "sums": sums}
        self.settings["background"] = background

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> Tensor:
        loss = super().__call__(y_true, as_float32(y_pred), sample_weight)  # before Keras casts
        shared = replicas()
        return loss if shared == 1 else loss / shared  # Keras sums the devices' losses and gradients

    def compared(self, classes: Tensor) -> Tensor:
        """Return the channels of [..., classes] that an overlap measure compares."""
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

    `alpha`, `exponent`, `smoothing` as in `LossConfig`; `gamma` is refused, see `focal_tversky`.
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
        self.settings |= {"alpha": alpha, "exponent": exponent, "smoothing": smoothing}
        self.settings["weight_cross_entropy"] = weight_cross_entropy

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
    """`cross_entropy` of one head, over all classes regardless of `target` and `background`; to compare with."""

    def __init__(self, name: str = "cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the scalar loss of the batch."""
        return cross_entropy(y_true, y_pred, self.settings["activation"])


def build_losses(config: LossConfig, model: ModelConfig) -> tuple[dict[str, keras.losses.Loss], dict[str, float]]:
    """Return the loss and the weight of every head, by the names of the model's outputs."""
    weights = dict(zip(HEADS, config.head_weights, strict=True))
    common: dict[str, Any] = {key: getattr(config, key) for key in ("target", "background", "sums")}
    common["activation"] = model.activation
    losses: dict[str, keras.losses.Loss] = {}
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
