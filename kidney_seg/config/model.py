"""Settings of the network."""

from __future__ import annotations

from dataclasses import dataclass

from kidney_seg.config.validation import check, check_choice

LEVELS = 4  # scales of the image, gates and supervised outputs of the paper's Figure 1; the bottleneck lies below them
HEADS = tuple(f"head{number}" for number in range(1, LEVELS + 1))  # coarse (1/8) to fine (1/1), as the loss weights
STRIDES = {name: 2 ** (LEVELS - 1 - index) for index, name in enumerate(HEADS)}
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True)
class ModelConfig:
    """The network, wholly. `kidney_seg.model.attention_unet.build_model` makes it."""

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
