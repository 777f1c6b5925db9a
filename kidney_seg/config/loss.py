"""Settings of the loss."""

from __future__ import annotations

from dataclasses import dataclass

from kidney_seg.config.model import LEVELS
from kidney_seg.config.validation import check, check_choice

LOSS_FUNCTIONS = ("focal_tversky", "tversky", "dice_cross_entropy", "cross_entropy")


@dataclass(frozen=True)
class LossConfig:
    """The loss at the heads. `kidney_seg.losses.heads.build_losses` makes it."""

    loss_function: str = "focal_tversky"
    """`focal_tversky`; to compare with: `tversky`, `dice_cross_entropy`, `cross_entropy`. [paper]"""
    alpha: float = 0.7
    """Weight of false negatives in the Tversky index; 1 - alpha is that of false positives. [C]"""
    exponent: float = 0.75
    """Focal Tversky Loss is (1 - TI) to this power: 1/gamma with the gamma = 4/3 of its paper. [C]"""
    smoothing: float = 1.0
    """Voxels added above and below in the Tversky index and in Dice. [C]"""
    target: str = "classes"
    """What is compared, `classes`: kidney, tumor; `regions`: kidney+tumor, tumor. [J, measured]"""
    background: bool = False
    """The background counts as a class of its own in the mean. [J: its index is near 1, where the slope is largest]"""
    sums: str = "batch"
    """The index is taken of the whole `batch` at once, or of each `sample` and then averaged. [C]"""
    cross_entropy: float = 0.0
    """Weight of cross-entropy added to the (Focal) Tversky Loss of every head. [paper: none]"""
    head_weights: tuple[float, ...] = (0.2, 0.2, 0.2, 0.4)
    """Of the four losses, coarse to fine. [paper: "{0.2, 0.2, 0.2, 0.4} from bottom to top levels"; C: all 1]"""
    last_head: str = "focal"
    """The finest head's loss: `focal` as the others', or plain `tversky` [C]. [paper: "weighted FTL at four levels"]"""
    coarse_targets: str = "strided"
    """Labels of the coarse heads: every s-th pixel (`strided`), or the `average` over s x s, soft. [C]"""

    def __post_init__(self) -> None:
        check_choice("loss_function", self.loss_function, LOSS_FUNCTIONS)
        check(0 < self.alpha < 1, "alpha", self.alpha, "a number between 0 and 1")
        check(0 < self.exponent <= 3, "exponent", self.exponent, "a number above 0, at most 3")
        check(self.smoothing > 0, "smoothing", self.smoothing, "a positive number")
        check_choice("target", self.target, ("classes", "regions"))
        check_choice("sums", self.sums, ("batch", "sample"))
        check(self.cross_entropy >= 0, "cross_entropy", self.cross_entropy, "0 or more")
        alone = not self.cross_entropy or self.loss_function in ("focal_tversky", "tversky")
        check(
            alone, "cross_entropy", self.cross_entropy, f"0 with loss_function={self.loss_function}, which has its own"
        )
        weights_fit = len(self.head_weights) == LEVELS and min(self.head_weights) >= 0 < self.head_weights[-1]
        check(weights_fit, "head_weights", self.head_weights, "four weights, coarse to fine, the last above 0")
        check_choice("last_head", self.last_head, ("focal", "tversky"))
        focal = self.last_head == "focal" or self.loss_function == "focal_tversky"
        check(focal, "last_head", self.last_head, f"focal, that is like the others, with {self.loss_function}")
        check_choice("coarse_targets", self.coarse_targets, ("strided", "average"))
