"""Every setting of a run: frozen dataclasses that check themselves, the presets `demo` and `paper`, and their JSON.

What the paper states is the default of the classes below, which is the preset `paper`. What it leaves open has one
default here, with its source in the field's comment: [C] the code of the Focal Tversky Loss authors, [J] our judgement.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from data_prep.command import InputError

LEVELS = 4  # scales of the image, gates and supervised outputs of the paper's Figure 1; the bottleneck lies below them
HEADS = tuple(f"head{number}" for number in range(1, LEVELS + 1))  # coarse (1/8) to fine (1/1), as the loss weights
STRIDES = {name: 2 ** (LEVELS - 1 - index) for index, name in enumerate(HEADS)}


def _check(valid: bool, setting: str, found: Any, expected: str) -> None:
    if not valid:
        raise InputError(f"setting {setting}: found {found!r}, expected {expected}")


def _check_choice(setting: str, found: Any, choices: Iterable[str]) -> None:
    choices = list(choices)
    near = difflib.get_close_matches(str(found), choices, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    _check(found in choices, setting, found, "one of " + ", ".join(choices) + hint)


@dataclass(frozen=True)
class ModelConfig:
    """The network, wholly. `kidney_seg.model.build_model` makes it."""

    size: int = 256  # height and width of the input in pixels, divisible by 16 [J]
    classes: int = 3  # background, kidney, tumor; 1 with sigmoid heads is the authors' binary net
    hu_window: tuple[float, float] = (-79.0, 304.0)  # HU clipped to this and scaled to 0..1, first layer [J]
    widths: tuple[int, ...] = (
        32,
        64,
        128,
        64,
        512,
    )  # channels of the encoder blocks from full size to 1/16 [C]
    width_factor: float = 1.0  # multiplies every width; 1 is the authors' net
    gates: tuple[int, ...] = (
        1,
        2,
        3,
        4,
    )  # levels with an attention gate; paper: "also added to the most upper layer"
    gate3_signal: str = "up2"  # gating signal of the skip at 1/2: `up2`, or `up1` as the authors' code (a slip) [C]
    gate_interpolation: str = "nearest"  # of the attention map: `nearest` [C] or `bilinear` (Oktay's gate)
    decoder: str = "side"  # blocks `side`: in the side branches only [C]; `inline`: in the main path (Oktay's U-Net)
    activation: str = "softmax"  # of the heads: `softmax` over classes, or the authors' `sigmoid`
    multi_scale_input: bool = True  # paper: "four inputs with different scales"
    deep_supervision: bool = True  # paper: "four segmentation outputs at different scales"
    # Share of foreground that the heads predict before training, by their biases; 0 leaves the biases at 0 as in [C].
    # Without it the tumor class often starts on everything and stays there, where Focal Tversky has no slope (measured;
    # the remedy is that of Lin et al., "Focal Loss for Dense Object Detection", 2017, section 3.3).
    foreground_prior: float = 0.03
    batch_norm_momentum: float = 0.99  # Keras' default [C]; 0.9 where a round has only some hundred steps

    def __post_init__(self) -> None:
        _check(self.size >= 16 and self.size % 16 == 0, "size", self.size, "a multiple of 16 (four 2x2 poolings)")
        _check(self.classes >= 1, "classes", self.classes, "at least 1")
        low, high = self.hu_window if len(self.hu_window) == 2 else (0.0, 0.0)
        _check(low < high, "hu_window", self.hu_window, "two HU values, the lower first")
        widths_fit = len(self.widths) == LEVELS + 1 and all(width >= 1 for width in self.widths)
        _check(widths_fit, "widths", self.widths, "five positive integers, one a resolution")
        _check(self.width_factor > 0, "width_factor", self.width_factor, "a positive number")
        known = set(self.gates) <= set(range(1, LEVELS + 1)) and len(set(self.gates)) == len(self.gates)
        _check(known, "gates", self.gates, "levels from 1 (full size) to 4, each once")
        _check_choice("gate3_signal", self.gate3_signal, ("up2", "up1"))
        _check_choice("gate_interpolation", self.gate_interpolation, ("nearest", "bilinear"))
        _check_choice("decoder", self.decoder, ("side", "inline"))
        _check_choice("activation", self.activation, ("softmax", "sigmoid"))
        soft = self.activation == "sigmoid" or self.classes >= 2
        _check(soft, "classes", self.classes, "at least 2 with softmax heads")
        _check(0 <= self.foreground_prior < 1, "foreground_prior", self.foreground_prior, "a share from 0 to below 1")
        momentum_fits = 0 < self.batch_norm_momentum < 1
        _check(momentum_fits, "batch_norm_momentum", self.batch_norm_momentum, "a number between 0 and 1")

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the outputs, coarse to fine."""
        return HEADS if self.deep_supervision else HEADS[-1:]


@dataclass(frozen=True)
class LossConfig:
    """The loss at the heads. `kidney_seg.losses.build_losses` makes it."""

    alpha: float = 0.7  # weight of false negatives; 1 - alpha is that of false positives [C]
    exponent: float = 0.75  # (1 - TI)**exponent; 0.75 is 1/gamma with gamma = 4/3 [C]
    smoothing: float = 1.0  # added above and below [C]
    target: str = "classes"  # `classes`: kidney, tumor; `regions`: kidney+tumor, tumor [J, measured]
    background: bool = False  # the background as a class of its own in the mean [J]
    cross_entropy: float = 0.0  # weight of categorical cross-entropy added at every head; 0 is the paper
    head_weights: tuple[float, ...] = (
        0.2,
        0.2,
        0.2,
        0.4,
    )  # paper: "{0.2, 0.2, 0.2, 0.4} from bottom to top levels"
    last_head: str = "focal"  # `focal` as the paper, or plain `tversky` on the finest head as the authors' code [C]
    coarse_targets: str = "strided"  # labels of coarse heads: `strided` [C] or `average` (area-averaged, soft)

    def __post_init__(self) -> None:
        _check(0 < self.alpha < 1, "alpha", self.alpha, "a number between 0 and 1")
        _check(0 < self.exponent <= 3, "exponent", self.exponent, "a number above 0, at most 3")
        _check(self.smoothing > 0, "smoothing", self.smoothing, "a positive number")
        _check_choice("target", self.target, ("classes", "regions"))
        _check(self.cross_entropy >= 0, "cross_entropy", self.cross_entropy, "0 or more")
        weights_fit = len(self.head_weights) == LEVELS and min(self.head_weights) >= 0 < self.head_weights[-1]
        _check(weights_fit, "head_weights", self.head_weights, "four weights, coarse to fine, the last above 0")
        _check_choice("last_head", self.last_head, ("focal", "tversky"))
        _check_choice("coarse_targets", self.coarse_targets, ("strided", "average"))


@dataclass(frozen=True)
class DataConfig:
    """What a training batch holds. `kidney_seg.pipeline` and `kidney_seg.augment` make it."""

    batch_size: int = 8  # slices [J; the authors used 16 of 128 x 128]
    shares: tuple[float, ...] = (
        1 / 3,
        1 / 3,
        1 / 3,
    )  # of slices with tumor, with kidney only, with neither [J]
    shift: float = 0.1  # at most, as a share of the field, in x and in y [J]
    scale: float = 0.15  # size between 1 - scale and 1 + scale [J]
    rotation_deg: float = 15.0  # at most, either way [J]
    flip: float = 0.5  # share of slices mirrored left to right [J]
    contrast: float = 0.1  # HU around the middle of the window times 1 - contrast to 1 + contrast [J]
    brightness_hu: float = 20.0  # HU added, at most, either way [J]
    memory_gb: float = 4.0  # cases kept decoded in memory up to this; the others are read slice by slice

    def __post_init__(self) -> None:
        _check(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        shares_fit = len(self.shares) == 3 and min(self.shares) >= 0 < sum(self.shares)
        _check(shares_fit, "shares", self.shares, "three shares (tumor, kidney only, neither), not all 0")
        for name in ("shift", "scale", "flip", "contrast"):
            value = getattr(self, name)
            _check(0 <= value <= 1 and (name != "scale" or value < 1), name, value, "a share between 0 and 1")
        _check(0 <= self.rotation_deg <= 180, "rotation_deg", self.rotation_deg, "degrees between 0 and 180")
        _check(self.brightness_hu >= 0, "brightness_hu", self.brightness_hu, "0 HU or more")
        _check(self.memory_gb >= 0, "memory_gb", self.memory_gb, "0 GB or more")


@dataclass(frozen=True)
class RoundsConfig:
    """Progressive training (paper, Figure 2). All of it is our judgement but the loop itself, which is the paper's."""

    starts: int = 3  # fresh networks in round 0; the best goes on (single starts collapse now and then)
    start_steps: int = 500  # optimizer steps of each start
    steps: int = 1000  # optimizer steps of each later round
    max_rounds: int = 10  # later rounds at most; paper: until no improvement
    patience: int = 2  # rounds without improvement before the end; 1 is the paper's words taken literally
    min_delta: float = 0.002  # what counts as an improvement of the score
    patient_share: float = 0.5  # training patients drawn for a round; paper: "randomly selected training dataset"
    warm_start: str = "best"  # weights that a round starts from: of the `best` round so far, or of the `last`
    stop_on: str = "selection"  # patients that judge a round; `test` is the paper's protocol (and is optimistic)
    optimizer: str = "adam"  # `adam`, or the authors' `sgd` (momentum 0.9)
    peak_rate: float = 1e-3  # learning rate after the warm-up of round 0; falls as a cosine to 1 %
    rate_decay: float = 0.7  # the peak of round n is peak_rate * rate_decay**n
    warmup_share: float = 0.05  # of a round's steps, in which the rate rises from 0
    clipnorm: float = 1.0  # of the gradients' global norm
    retries: int = 2  # a collapsed round is tried again this often, with a new draw and half the rate

    def __post_init__(self) -> None:
        for name in ("starts", "start_steps", "steps", "patience"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("max_rounds", "min_delta", "retries"):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _check(0 < self.patient_share <= 1, "patient_share", self.patient_share, "a share above 0, at most 1")
        _check_choice("warm_start", self.warm_start, ("best", "last"))
        _check_choice("stop_on", self.stop_on, ("selection", "test"))
        _check_choice("optimizer", self.optimizer, ("adam", "sgd"))
        for name in ("peak_rate", "rate_decay", "clipnorm"):
            _check(getattr(self, name) > 0, name, getattr(self, name), "a positive number")
        _check(0 <= self.warmup_share < 1, "warmup_share", self.warmup_share, "a share from 0 to below 1")


@dataclass(frozen=True)
class PredictionConfig:
    """From network outputs to labels (paper, last paragraph of section 1)."""

    postprocess: bool = True  # apply the paper's rule
    distance_mm: float = 20.0  # objects farther than this from both kidneys are removed [J: method of the paper]
    kidney_ml: float = 20.0  # a body smaller than this is no kidney [J: the smallest of 210 was 42.7 mL]
    slices_per_batch: int = 16

    def __post_init__(self) -> None:
        _check(self.distance_mm >= 0, "distance_mm", self.distance_mm, "0 mm or more")
        _check(self.kidney_ml > 0, "kidney_ml", self.kidney_ml, "a positive volume in mL")
        _check(self.slices_per_batch >= 1, "slices_per_batch", self.slices_per_batch, "at least 1")


@dataclass(frozen=True)
class Config:
    """All settings of a run. Field names are unique over the sections, so `--set rotation_deg=10` needs no prefix."""

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    rounds: RoundsConfig = field(default_factory=RoundsConfig)
    prediction: PredictionConfig = field(default_factory=PredictionConfig)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the settings as nested dictionaries that JSON can hold (tuples become lists)."""
        return {
            section: {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
            for section, values in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, content: dict[str, dict[str, Any]]) -> Config:
        """Rebuild what `to_dict` gave. InputError names the first unknown section or field."""
        sections = {}
        for section, values in content.items():
            kind = _section_types().get(section)
            _check(kind is not None, "section", section, "one of " + ", ".join(_section_types()))
            for name in values:
                _check_choice(f"name in section {section}", name, [f.name for f in dataclasses.fields(kind)])
            tuples = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
            sections[section] = kind(**tuples)
        return cls(**sections)

    def with_settings(self, assignments: Iterable[str]) -> Config:
        """Return a copy with `key=value` texts applied, as `--set` takes them; tuples are written `1,2,3`.

        >>> Config().with_settings(["steps=20", "hu_window=0,255"]).model.hu_window
        (0.0, 255.0)
        """
        changes: dict[str, dict[str, Any]] = {section: {} for section in _section_types()}
        owners = {f.name: s for s, kind in _section_types().items() for f in dataclasses.fields(kind)}
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            _check(bool(equals), "--set", assignment, "key=value")
            _check_choice("--set", key, owners)
            kind = typing.get_type_hints(_section_types()[owners[key]])[key]
            changes[owners[key]][key] = _parse(key, text, kind)
        return dataclasses.replace(
            self,
            **{section: dataclasses.replace(getattr(self, section), **values) for section, values in changes.items()},
        )


def _section_types() -> dict[str, type]:
    return typing.get_type_hints(Config)


def _parse(key: str, text: str, kind: Any) -> Any:
    """Read one `--set` value as the type that the field declares."""
    if typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        return tuple(_parse(key, part, element) for part in text.split(",") if part.strip())
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if kind is bool:
        _check(text.lower() in words, key, text, "true or false")
        return words[text.lower()]
    try:
        return kind(text)
    except ValueError:
        raise InputError(
            f"setting {key}: found {text!r}, expected {'an integer' if kind is int else 'a number'}"
        ) from None


def differences(old: Config, new: Config) -> list[str]:
    """Return one text a setting that differs, `key: old -> new`."""
    return [
        f"{name}: {value!r} -> {new.to_dict()[section][name]!r}"
        for section, values in old.to_dict().items()
        for name, value in values.items()
        if value != new.to_dict()[section][name]
    ]


PRESETS: types.MappingProxyType[str, Config] = types.MappingProxyType(
    {
        # The same method, small enough for two and a half minutes on two CPU cores with the simulated patients.
        # `inline` costs as much as `side` at this size and finds more tumor (measured: docs/design.md).
        "demo": Config(
            model=ModelConfig(size=64, width_factor=0.25, decoder="inline", batch_norm_momentum=0.9),
            data=DataConfig(scale=0.2, rotation_deg=20.0),
            rounds=RoundsConfig(starts=3, start_steps=100, steps=400, max_rounds=3, peak_rate=4e-3, patient_share=0.75),
        ),
        "paper": Config(),
    }
)
