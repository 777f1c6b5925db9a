"""Settings of the loss: function, weights of errors and heads, targets, added cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

from kidney_seg.config.checks import Section, check, choice, setting
from kidney_seg.config.model import LEVELS

LOSS_FUNCTIONS = ("focal_tversky", "tversky", "dice_cross_entropy", "cross_entropy")


@dataclass(frozen=True)
class LossConfig(Section):
    """Loss of each head, made by `kidney_seg.losses.keras_losses.build_losses`."""

    loss_function: str = choice(LOSS_FUNCTIONS, "loss; all but the first are for comparison", "paper")
    alpha: float = setting(
        0.7,
        "weight of false negatives in the Tversky index (MONAI calls it beta); 1 - alpha: of false positives",
        "C",
    )
    exponent: float = setting(0.75, "power of 1 - TI: 1/gamma with gamma = 4/3 of the Focal Tversky paper", "C")
    smoothing: float = setting(1.0, "voxels added to numerator and denominator of Tversky index and Dice", "C")
    target: str = choice(("classes", "regions"), "compare kidney, tumor or kidney + tumor, tumor", "J, measured")
    background: bool = setting(False, "the background counts as a class", "J: its index is near 1, the slope large")
    sums: str = choice(("batch", "sample"), "the index is of the whole batch, or the mean over its samples", "C")
    cross_entropy: float = setting(0.0, "weight of cross-entropy added to the (Focal) Tversky Loss", "paper: none", 0)
    head_weights: tuple[float, ...] = setting(
        (0.2, 0.2, 0.2, 0.4),
        "weights of the heads' losses, coarse to fine",
        'paper: "{0.2, 0.2, 0.2, 0.4} from bottom to top levels"; C: all 1',
    )
    last_head: str = choice(
        ("focal", "tversky"), "loss of the finest head", 'paper: "weighted FTL at four levels"; C: tversky'
    )
    coarse_targets: str = choice(("strided", "average"), "targets of coarse heads: every s-th pixel, or the mean", "C")

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0 < self.alpha < 1, "alpha", self.alpha, "a number between 0 and 1")
        check(0 < self.exponent <= 3, "exponent", self.exponent, "a number above 0, at most 3")
        check(self.smoothing > 0, "smoothing", self.smoothing, "a positive number")
        alone = not self.cross_entropy or self.loss_function in ("focal_tversky", "tversky")
        expected = f"0 with loss_function={self.loss_function}, which has its own"
        check(alone, "cross_entropy", self.cross_entropy, expected)
        weights_fit = len(self.head_weights) == LEVELS and min(self.head_weights) >= 0 < self.head_weights[-1]
        check(weights_fit, "head_weights", self.head_weights, "four weights, coarse to fine, the last above 0")
        focal = self.last_head == "focal" or self.loss_function == "focal_tversky"
        check(focal, "last_head", self.last_head, f"focal, that is like the others, with {self.loss_function}")
