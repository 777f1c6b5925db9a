"""Settings of the network: input, HU window, channels, gates, decoder, heads, normalization, precision."""

from __future__ import annotations

from dataclasses import dataclass

from kidney_seg.config.checks import Section, check, choice, setting

LEVELS = 4  # scales of the image, gates and supervised outputs of the paper's Figure 1; the bottleneck lies below them
HEADS = tuple(f"head{number}" for number in range(1, LEVELS + 1))  # coarse (1/8) to fine (1/1), as the loss weights
STRIDES = {name: 2 ** (LEVELS - 1 - index) for index, name in enumerate(HEADS)}
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True)
class ModelConfig(Section):
    """The network, made by `kidney_seg.model.attention_unet.build_model`."""

    size: int = setting(256, "height and width of the input in pixels, a multiple of 16", "J: common for KiTS19")
    input_slices: int = setting(1, "slices as channels, an odd number about the segmented one", "paper: 2-D")
    classes: int = setting(3, "background, kidney, tumor; 1: the authors' binary net, with sigmoid heads", "paper", 1)
    hu_window: tuple[float, float] = setting((-79.0, 304.0), "HU range, scaled to 0..1", "J: of most KiTS19 pipelines")
    widths: tuple[int, ...] = setting(
        (32, 64, 128, 64, 512), "channels of the encoder blocks from full size to 1/16", "C: its fourth block has 64"
    )
    width_factor: float = setting(1.0, "factor on every number of channels; 1 is the authors' net", "C")
    gates: tuple[int, ...] = setting(
        (1, 2, 3, 4), "levels with a gate, 1 the uppermost", 'paper: "also added to the most upper layer"; C: 2,3,4'
    )
    gate3_signal: str = choice(("up2", "up1"), "gating signal of the skip at 1/2; up1 is a slip", "J; C: up1")
    gate_interpolation: str = choice(("nearest", "bilinear"), "upsampling of the attention map; Oktay: bilinear", "C")
    decoder: str = choice(("side", "inline"), "decoder blocks in side branches, or also in the main path (Oktay)", "C")
    activation: str = choice(("softmax", "sigmoid"), "activation of the heads", "J; C: sigmoid, one class")
    multi_scale_input: bool = setting(
        True, "the image enters at four scales", 'paper: "four inputs with different scales are generated"'
    )
    deep_supervision: bool = setting(
        True, "train four outputs, not only the finest", 'paper: "four segmentation outputs at different scales"'
    )
    foreground_prior: float = setting(0.03, "foreground that the heads predict before training", "J, measured; C: none")
    normalization: str = choice(("batch", "group"), "after the convolutions; group is independent of the batch", "C")
    norm_groups: int = setting(8, "groups of channels with normalization=group, or fewer that divide them", "J", 1)
    batch_norm_momentum: float = setting(0.99, "of the moving averages; 0.9 for rounds of a few hundred steps", "C")
    precision: str = choice(PRECISIONS, "mixed: half precision inside, the heads in float32", "C")

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.size >= 16 and self.size % 16 == 0, "size", self.size, "a multiple of 16 (four 2x2 poolings)")
        odd = self.input_slices >= 1 and self.input_slices % 2 == 1
        check(odd, "input_slices", self.input_slices, "an odd number such as 1, 3 or 5: the segmented slice and pairs")
        low, high = self.hu_window if len(self.hu_window) == 2 else (0.0, 0.0)
        check(low < high, "hu_window", self.hu_window, "two HU values, the lower first")
        widths_fit = len(self.widths) == LEVELS + 1 and all(width >= 1 for width in self.widths)
        check(widths_fit, "widths", self.widths, "five positive integers, one per resolution")
        check(self.width_factor > 0, "width_factor", self.width_factor, "a positive number")
        known = set(self.gates) <= set(range(1, LEVELS + 1)) and len(set(self.gates)) == len(self.gates)
        check(known, "gates", self.gates, "levels from 1 (full size) to 4, each once")
        soft = self.activation == "sigmoid" or self.classes >= 2
        check(soft, "classes", self.classes, "at least 2 with softmax heads")
        check(0 <= self.foreground_prior < 1, "foreground_prior", self.foreground_prior, "a share from 0 to below 1")
        momentum_fits = 0 < self.batch_norm_momentum < 1
        check(momentum_fits, "batch_norm_momentum", self.batch_norm_momentum, "a number between 0 and 1")

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the outputs, coarse to fine."""
        return HEADS if self.deep_supervision else HEADS[-1:]
