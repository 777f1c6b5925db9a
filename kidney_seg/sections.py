"""The sections of the settings: frozen dataclasses that check themselves. `kidney_seg.config` puts them together.

What the paper states is the default; what it leaves open has one default. The text under every field ends with where
the default comes from: [paper]; [C] the code of the Focal Tversky Loss authors, which the paper builds on; [J] our
judgement, explained in docs/paper_and_code.md and docs/design.md.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from data_prep.command import InputError

LEVELS = 4  # scales of the image, gates and supervised outputs of the paper's Figure 1; the bottleneck lies below them
HEADS = tuple(f"head{number}" for number in range(1, LEVELS + 1))  # coarse (1/8) to fine (1/1), as the loss weights
STRIDES = {name: 2 ** (LEVELS - 1 - index) for index, name in enumerate(HEADS)}
LOSS_FUNCTIONS = ("focal_tversky", "tversky", "dice_cross_entropy", "cross_entropy")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
FLIPS = ("none", "left_right", "both")  # which mirrored copies of a slice are predicted, too


def check(valid: bool, setting: str, found: Any, expected: str) -> None:
    """Raise the InputError of a bad setting unless it is `valid`."""
    if not valid:
        raise InputError(f"setting {setting}: found {found!r}, expected {expected}")


def check_choice(setting: str, found: Any, choices: Iterable[str]) -> None:
    """Raise the InputError of an unknown name, with the known ones and the nearest of them."""
    choices = list(choices)
    near = difflib.get_close_matches(str(found), choices, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    check(found in choices, setting, found, "one of " + ", ".join(choices) + hint)


def refuse_gamma(gamma: Any) -> None:
    """Raise the InputError that `gamma` gets: half of the world's code means the power by it, half its inverse."""
    try:
        power = f"exponent={1 / float(gamma):.4g}"
        itself = f"exponent={float(gamma):.4g}"
    except (TypeError, ValueError, ZeroDivisionError):
        power, itself = "exponent=1/gamma", "exponent"
    raise InputError(
        f"setting gamma: found {gamma!r}, expected exponent, the power of 1 - TI itself; the gamma of the Focal "
        f"Tversky paper is its inverse, (1 - TI)^(1/gamma): give {power} for that, or {itself} if the power is meant"
    )


@dataclass(frozen=True)
class ModelConfig:
    """The network, wholly. `kidney_seg.model.build_model` makes it."""

    size: int = 256
    """Height and width of the input in pixels, a multiple of 16. [J: common for KiTS19]"""
    input_slices: int = 1
    """Neighboring slices seen as channels, an odd number, the segmented one in the middle. [paper: 2-D]"""
    classes: int = 3
    """Background, kidney, tumor; 1, with sigmoid heads, is the authors' binary net. [paper: kidney and tumor]"""
    hu_window: tuple[float, float] = (-79.0, 304.0)
    """HU clipped to this and scaled to 0..1 in the first layer. [J: the range of most KiTS19 pipelines]"""
    widths: tuple[int, ...] = (32, 64, 128, 64, 512)
    """Channels of the encoder blocks from full size to 1/16. [C: its fourth block has 64, not 256]"""
    width_factor: float = 1.0
    """Multiplies every number of channels; 1 is the authors' net. [C]"""
    gates: tuple[int, ...] = (1, 2, 3, 4)
    """Levels with an attention gate, 1 the uppermost. [paper: "also added to the most upper layer"; C: 2,3,4]"""
    gate3_signal: str = "up2"
    """Gating signal of the skip at 1/2: `up2`, or `up1` as in the authors' code, a slip. [J; C: up1]"""
    gate_interpolation: str = "nearest"
    """Of the attention map on its way up: `nearest`, or `bilinear` as Oktay's gate. [C]"""
    decoder: str = "side"
    """Blocks `side`: in the side branches only; `inline`: in the main path too, as Oktay's U-Net. [C]"""
    activation: str = "softmax"
    """Of the heads: `softmax` over the classes, or the authors' `sigmoid`. [J; C: sigmoid, one class]"""
    multi_scale_input: bool = True
    """The image enters at four scales. [paper: "four inputs with different scales are generated"]"""
    deep_supervision: bool = True
    """Four outputs are supervised; else only the finest. [paper: "four segmentation outputs at different scales"]"""
    foreground_prior: float = 0.03
    """Share of foreground that the heads predict before training, by their biases. [J, measured; C: 0, biases of 0]"""
    normalization: str = "batch"
    """After the convolutions: `batch`, or `group`, which does not depend on the other slices of a batch. [C]"""
    norm_groups: int = 8
    """Groups of channels with `normalization=group`; where they do not divide the channels, fewer. [J]"""
    batch_norm_momentum: float = 0.99
    """Of the moving averages; 0.9 where a round has only some hundred steps. [C: the default of Keras]"""
    precision: str = "float32"
    """`float32`, or `mixed_bfloat16` / `mixed_float16`: half precision inside, the heads in float32. [C]"""

    def __post_init__(self) -> None:
        check(self.size >= 16 and self.size % 16 == 0, "size", self.size, "a multiple of 16 (four 2x2 poolings)")
        odd = self.input_slices >= 1 and self.input_slices % 2 == 1
        check(odd, "input_slices", self.input_slices, "an odd number such as 1, 3 or 5: the segmented slice and pairs")
        check(self.classes >= 1, "classes", self.classes, "at least 1")
        low, high = self.hu_window if len(self.hu_window) == 2 else (0.0, 0.0)
        check(low < high, "hu_window", self.hu_window, "two HU values, the lower first")
        widths_fit = len(self.widths) == LEVELS + 1 and all(width >= 1 for width in self.widths)
        check(widths_fit, "widths", self.widths, "five positive integers, one a resolution")
        check(self.width_factor > 0, "width_factor", self.width_factor, "a positive number")
        known = set(self.gates) <= set(range(1, LEVELS + 1)) and len(set(self.gates)) == len(self.gates)
        check(known, "gates", self.gates, "levels from 1 (full size) to 4, each once")
        check_choice("gate3_signal", self.gate3_signal, ("up2", "up1"))
        check_choice("gate_interpolation", self.gate_interpolation, ("nearest", "bilinear"))
        check_choice("normalization", self.normalization, ("batch", "group"))
        check(self.norm_groups >= 1, "norm_groups", self.norm_groups, "at least 1")
        check_choice("decoder", self.decoder, ("side", "inline"))
        check_choice("activation", self.activation, ("softmax", "sigmoid"))
        soft = self.activation == "sigmoid" or self.classes >= 2
        check(soft, "classes", self.classes, "at least 2 with softmax heads")
        check(0 <= self.foreground_prior < 1, "foreground_prior", self.foreground_prior, "a share from 0 to below 1")
        momentum_fits = 0 < self.batch_norm_momentum < 1
        check(momentum_fits, "batch_norm_momentum", self.batch_norm_momentum, "a number between 0 and 1")
        check_choice("precision", self.precision, PRECISIONS)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the outputs, coarse to fine."""
        return HEADS if self.deep_supervision else HEADS[-1:]


@dataclass(frozen=True)
class LossConfig:
    """The loss at the heads. `kidney_seg.losses.build_losses` makes it."""

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


@dataclass(frozen=True)
class DataConfig:
    """What a training batch holds. `kidney_seg.pipeline` and `kidney_seg.augment` make it."""

    batch_size: int = 8
    """Slices a step. [J: the authors used 16 of 128 x 128]"""
    shares: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
    """Of slices with tumor, with kidney only, with neither. [J: two thirds of all slices hold nothing]"""
    shift: float = 0.1
    """Slices are moved by this share of the field at most, in x and in y. [J]"""
    scale: float = 0.15
    """Slices are resized to between 1 - scale and 1 + scale. [J]"""
    rotation_deg: float = 15.0
    """Slices are turned by this at most, either way. [J]"""
    flip: float = 0.5
    """Share of slices mirrored left to right. [J]"""
    tumor_paste: float = 0.0
    """Share of slices into whose kidneys the tumor of another training slice is pasted. [J: TumorCP, Yang 2021]"""
    elastic_px: float = 0.0
    """Half of the slices are bent by a smooth field of this standard deviation at most, in pixels. [J]"""
    contrast: float = 0.1
    """HU around the middle of the window times 1 - contrast to 1 + contrast. [J]"""
    brightness_hu: float = 20.0
    """HU added, at most, either way. [J]"""
    blur_px: float = 0.0
    """Half of the slices are blurred by a Gaussian of this standard deviation at most, in pixels. [J]"""
    gamma_change: float = 0.0
    """Gray values in the window are raised to a power from 1 / (1 + this) to 1 + this. [J]"""
    noise_hu: float = 0.0
    """Half of the slices get Gaussian noise of this standard deviation at most. [J]"""
    memory_gb: float = 4.0
    """Cases are kept decoded in memory up to this; the others are read slice by slice. [J]"""

    def __post_init__(self) -> None:
        check(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        shares_fit = len(self.shares) == 3 and min(self.shares) >= 0 < sum(self.shares)
        check(shares_fit, "shares", self.shares, "three shares (tumor, kidney only, neither), not all 0")
        for name in ("shift", "scale", "flip", "tumor_paste", "contrast"):
            value = getattr(self, name)
            check(0 <= value <= 1 and (name != "scale" or value < 1), name, value, "a share between 0 and 1")
        check(0 <= self.rotation_deg <= 180, "rotation_deg", self.rotation_deg, "degrees between 0 and 180")
        check(self.brightness_hu >= 0, "brightness_hu", self.brightness_hu, "0 HU or more")
        limits = {"elastic_px": "0 pixels", "blur_px": "0 pixels", "gamma_change": "0", "noise_hu": "0 HU"}
        for name, least in limits.items():
            check(getattr(self, name) >= 0, name, getattr(self, name), f"{least} or more")
        check(self.memory_gb >= 0, "memory_gb", self.memory_gb, "0 GB or more")


@dataclass(frozen=True)
class RoundsConfig:
    """Progressive training (paper, Figure 2). The loop is the paper's; its numbers are ours, it gives none."""

    mode: str = "progressive"
    """`progressive`; to compare with: `restarts`: its rounds on all patients; `plain`: one long one on all. [paper]"""
    starts: int = 3
    """Fresh networks in round 0, of which the best goes on. [J: single starts collapse now and then]"""
    start_steps: int = 500
    """Optimizer steps of each start. [J]"""
    steps: int = 1000
    """Optimizer steps of each later round. [J]"""
    max_rounds: int = 10
    """Later rounds at most. [J; paper: until no improvement]"""
    patience: int = 2
    """Rounds without improvement before the end; 1 is the paper's words taken literally. [J]"""
    min_delta: float = 0.002
    """What counts as an improvement of the score. [J: scores of few patients are noisy]"""
    patient_share: float = 0.5
    """Training patients drawn for a round. [J; paper: "randomly selected training dataset"]"""
    warm_start: str = "best"
    """Weights that a round starts from: of the `best` round so far, or of the `last`. [J]"""
    stop_on: str = "selection"
    """Patients that judge a round; `test` is the paper's protocol, and is optimistic. [J]"""
    optimizer: str = "adam"
    """`adam`, or the authors' `sgd` with momentum 0.9. [J]"""
    peak_rate: float = 1e-3
    """Learning rate after the warm-up of round 0; falls as a cosine to 1 % within a round. [J]"""
    rate_decay: float = 0.7
    """The peak of round n is peak_rate * rate_decay**n. [J; paper: "fine-tuned"]"""
    warmup_share: float = 0.05
    """Of a round's steps, in which the rate rises from 0. [J]"""
    clipnorm: float = 1.0
    """Largest global norm of the gradients. [J: the loss is steep near TI = 1]"""
    retries: int = 2
    """A collapsed round is tried again this often, with a new draw and half the rate. [J]"""
    checkpoint_seconds: float = 60.0
    """A running round is saved this often, and after every epoch. [J: what a crash may cost]"""
    jit_compile: str = "auto"
    """Training steps compiled by XLA: `on`, `off`, or `auto`: on where there is one GPU. [J: the default of Keras]"""
    devices: str = "one"
    """Devices that share a batch, of each process: `one`, or `all`; may change when a run goes on. [J]"""

    def __post_init__(self) -> None:
        for name in ("starts", "start_steps", "steps", "patience"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("max_rounds", "min_delta", "retries", "checkpoint_seconds"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        check(0 < self.patient_share <= 1, "patient_share", self.patient_share, "a share above 0, at most 1")
        check_choice("mode", self.mode, ("progressive", "restarts", "plain"))
        check_choice("warm_start", self.warm_start, ("best", "last"))
        check_choice("stop_on", self.stop_on, ("selection", "test"))
        check_choice("optimizer", self.optimizer, ("adam", "sgd"))
        check_choice("jit_compile", self.jit_compile, ("auto", "on", "off"))
        check_choice("devices", self.devices, ("one", "all"))
        for name in ("peak_rate", "rate_decay", "clipnorm"):
            check(getattr(self, name) > 0, name, getattr(self, name), "a positive number")
        check(0 <= self.warmup_share < 1, "warmup_share", self.warmup_share, "a share from 0 to below 1")

    def later_rounds(self) -> tuple[int, int, float]:
        """Return what the mode makes of the rounds after round 0: how many, of how many steps, on which share."""
        if self.mode == "plain":
            return min(self.max_rounds, 1), self.max_rounds * self.steps, 1.0
        return self.max_rounds, self.steps, self.patient_share if self.mode == "progressive" else 1.0


@dataclass(frozen=True)
class PredictionConfig:
    """From network outputs to labels (paper, last paragraph of section 1)."""

    postprocess: bool = True
    """Apply the paper's rule. [paper]"""
    distance_mm: float = 20.0
    """Objects farther than this from both kidneys are removed. [J; paper: "a threshold"]"""
    kidney_ml: float = 20.0
    """A body smaller than this is no kidney. [J: the smallest second kidney of 210 patients had 42.7 mL]"""
    odds: tuple[float, ...] = (1.0, 1.0, 1.0)
    """The odds of background, kidney and tumor are multiplied by these in the saved model. [J; paper: nothing]"""
    slices_per_batch: int = 16
    """Slices that go through the network at once. [J]"""
    flips: str = "none"
    """Mirrored slices are predicted, too, and averaged: `none`, `left_right`, or `both`: up-down as well. [J]"""
    zooms: tuple[float, ...] = (1.0,)
    """Slices are predicted resized by these, too, and averaged; 1 is as they are. [J]"""

    def __post_init__(self) -> None:
        check(self.distance_mm >= 0, "distance_mm", self.distance_mm, "0 mm or more")
        check(self.kidney_ml > 0, "kidney_ml", self.kidney_ml, "a positive volume in mL")
        odds_fit = len(self.odds) == 3 and min(self.odds) > 0
        check(odds_fit, "odds", self.odds, "three positive factors: background, kidney, tumor")
        check(self.slices_per_batch >= 1, "slices_per_batch", self.slices_per_batch, "at least 1")
        check_choice("flips", self.flips, FLIPS)
        sizes = len(set(self.zooms)) == len(self.zooms) and all(0.5 <= zoom <= 2 for zoom in self.zooms)
        check(sizes and 1 in self.zooms, "zooms", self.zooms, "factors from 0.5 to 2, each once, 1 among them")
