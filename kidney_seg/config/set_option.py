"""The option `--set` of several commands: settings as KEY=VALUE, with completion of their names."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import partial
from typing import Any

from kidney_seg.config.checks import check_choice
from kidney_seg.config.run_config import Config, setting_owner


def add_set_option(parser: argparse.ArgumentParser, text: str, section: str | None = None) -> None:
    """Add `--set KEY=VALUE ...`; `text` is its help, `section` the only one whose settings are completed."""
    option = parser.add_argument("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help=text)
    option.completer = partial(complete_setting, section=section)  # type: ignore[attr-defined]  # for argcomplete


def prediction_settings(assignments: Iterable[str]) -> dict[str, Any]:
    """Return the settings of prediction that `--set` names, with their values; InputError for any other.

    >>> prediction_settings(["zooms=1,1.15", "prediction.smooth_z_mm=4"])
    {'zooms': (1.0, 1.15), 'smooth_z_mm': 4.0}
    """
    assignments = [assignment.removeprefix("prediction.") for assignment in assignments]
    names = [assignment.partition("=")[0] for assignment in assignments]
    for name in names:
        if setting_owner(name) != "prediction":
            check_choice("--set", name, Config().to_dict()["prediction"])
    prediction = Config().with_settings(assignments).prediction
    return {name: getattr(prediction, name) for name in names}


def complete_setting(prefix: str, section: str | None = None, **_: object) -> list[str]:
    """Return the completions of `prefix`: names as `key=`, then true and false for a setting that is either.

    >>> [word for word in complete_setting("ba") if word.startswith("ba")]
    ['batch_norm_momentum=', 'background=', 'batch_size=']
    >>> complete_setting("background=t")
    ['background=true', 'background=false']
    """
    sections = Config().to_dict()
    settings = {name: value for one in sections if section in (None, one) for name, value in sections[one].items()}
    key, equals, _value = prefix.partition("=")
    if not equals:
        return [f"{name}=" for name in settings]
    return [f"{key}=true", f"{key}=false"] if isinstance(settings.get(key), bool) else []
