"""All settings of a run: `Config`, its JSON, and `--set`. The sections beside this file hold the settings."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.json_files import read_json
from data_prep.files.typed import typed
from kidney_seg.config.checks import check, check_choice, refuse_gamma
from kidney_seg.config.data import DataConfig
from kidney_seg.config.loss import LossConfig
from kidney_seg.config.model import ModelConfig
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.config.rounds import RoundsConfig


@dataclass(frozen=True)
class Config:
    """All settings of a run. Names are unique over the sections, so `--set rotation_deg=10` needs no prefix."""

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    rounds: RoundsConfig = field(default_factory=RoundsConfig)
    prediction: PredictionConfig = field(default_factory=PredictionConfig)

    def __post_init__(self) -> None:
        expected = "3 in a run: the caches hold background, kidney and tumor (`build_model` takes other numbers)"
        check(self.model.classes == 3, "classes", self.model.classes, expected)
        regions_fit = self.loss.target == "classes" or self.model.activation == "softmax"
        check(regions_fit, "target", self.loss.target, "classes with sigmoid heads: regions add softmax classes up")

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the settings by section, ready for JSON (tuples become lists)."""
        return {
            section: {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
            for section, values in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, content: dict[str, dict[str, Any]]) -> Config:
        """Return the Config of a `to_dict`, missing settings with their defaults; InputError for anything else."""
        sections: dict[str, Any] = {}
        check(isinstance(content, dict), "file", content, "sections of settings")
        for section, values in content.items():
            check(isinstance(values, dict), "section", values, f"the settings of {section}")
            check(section in _section_types(), "section", section, "one of " + ", ".join(_section_types()))
            kind = _section_types()[section]
            if "gamma" in values:
                refuse_gamma(values["gamma"])
            for name in values:
                check_choice(f"name in section {section}", name, [f.name for f in dataclasses.fields(kind)])
            try:
                sections[section] = typed(kind, values)
            except ValueError as error:
                raise InputError(f"setting {error}") from None
        return cls(**sections)

    @classmethod
    def read(cls, path: str | Path, what: str = "run's settings") -> Config:
        """Return the Config of a JSON file. InputError with its path for anything else."""
        try:
            return cls.from_dict(read_json(path, what))
        except InputError as error:
            raise InputError(error.detail, error.path or path, error.code) from None

    def with_settings(self, assignments: Iterable[str]) -> Config:
        """Return a copy with the `key=value` texts of `--set` applied; tuples are written `1,2,3`.

        >>> Config().with_settings(["steps=20", "hu_window=0,255"]).model.hu_window
        (0.0, 255.0)
        """
        changes: dict[str, dict[str, Any]] = {section: {} for section in _section_types()}
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            check(bool(equals), "--set", assignment, "key=value")
            if key == "gamma":
                refuse_gamma(text)
            owner = setting_owner(key)
            kind = typing.get_type_hints(_section_types()[owner])[key]
            changes[owner][key] = _parse(key, text, kind)
        return dataclasses.replace(
            self,
            **{section: dataclasses.replace(getattr(self, section), **values) for section, values in changes.items()},
        )


def _section_types() -> dict[str, type]:
    return typing.get_type_hints(Config)


SYNONYMS = {  # names that others use, and ours
    **dict.fromkeys(("lr", "learning_rate", "rate", "max_lr"), "peak_rate"),
    **dict.fromkeys(("step", "num_steps", "iterations", "epochs", "epoch", "n_epochs"), "steps"),
    **dict.fromkeys(("batch", "bs", "batchsize"), "batch_size"),
    **dict.fromkeys(("image_size", "img_size", "input_size", "resolution", "patch_size"), "size"),
    **dict.fromkeys(("loss", "criterion"), "loss_function"),
    **dict.fromkeys(("window", "hu"), "hu_window"),
    **dict.fromkeys(("rounds", "num_rounds", "n_rounds"), "max_rounds"),
    "beta": "alpha",
    "smooth": "smoothing",
    "tta": "flips",
    "seed": "--seed",
}
_REMARKS = {
    "epochs": "training is counted in steps: start_steps for round 0, steps for each later one",
    "beta": "alpha weighs false negatives here, which MONAI calls beta",
    "seed": "it is an option of its own",
}


def setting_owner(name: str) -> str:
    """Return the section of a setting; InputError for an unknown one, with the name that is probably meant.

    >>> setting_owner("lr")
    Traceback (most recent call last):
    data_prep.errors.InputError: setting lr: unknown; did you mean 'peak_rate'? (--show-settings lists all)
    """
    owners = {item.name: section for section, kind in _section_types().items() for item in dataclasses.fields(kind)}
    if name in owners:
        return owners[name]
    short = name.rpartition(".")[2]
    near = [short] if short in owners else difflib.get_close_matches(short.lower(), owners, n=1)
    meant = SYNONYMS.get(short.lower()) or (near[0] if near else None)
    hint = f"; did you mean {meant!r}?" if meant else ""
    remark = f" {_REMARKS[short.lower()]}" if short.lower() in _REMARKS else ""
    raise InputError(f"setting {name}: unknown{hint}{remark} (--show-settings lists all)")


def explanations() -> dict[str, str]:
    """Return, by setting, its help and the source of its default.

    >>> explanations()["size"]
    'height and width of the input in pixels, a multiple of 16 [J: common for KiTS19]'
    """
    texts = {}
    for item in (item for kind in _section_types().values() for item in dataclasses.fields(kind)):
        help, source, choices = (item.metadata[name] for name in ("help", "source", "choices"))
        texts[item.name] = help + (f" ({', '.join(choices)})" if choices else "") + f" [{source}]"
    return texts


def _parse(key: str, text: str, kind: Any) -> Any:
    """Read one `--set` value as the type that the field declares."""
    if typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        return tuple(_parse(key, part, element) for part in text.split(",") if part.strip())
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if kind is bool:
        check(text.lower() in words, key, text, "true or false")
        return words[text.lower()]
    try:
        return kind(text)
    except ValueError:
        raise InputError(
            f"setting {key}: found {text!r}, expected {'an integer' if kind is int else 'a number'}"
        ) from None


def differences(old: Config, new: Config) -> list[str]:
    """Return one text per setting that differs, `key: old -> new`."""
    others = new.to_dict()
    return [
        f"{name}: {value!r} -> {others[section][name]!r}"
        for section, values in old.to_dict().items()
        for name, value in values.items()
        if value != others[section][name]
    ]
