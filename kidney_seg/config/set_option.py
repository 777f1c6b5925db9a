"""The option `--set` of several commands: settings as KEY=VALUE, with completion of their names."""

from __future__ import annotations

import argparse

from kidney_seg.config.run_config import Config


def add_set_option(parser: argparse.ArgumentParser, text: str) -> None:
    """Add `--set KEY=VALUE ...`; `text` is its help."""
    option = parser.add_argument("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help=text)
    option.completer = complete_setting  # type: ignore[attr-defined]  # read by argcomplete


def complete_setting(prefix: str, **_: object) -> list[str]:
    """Return the completions of `prefix`: names as `key=`, then true and false for a setting that is either.

    >>> [word for word in complete_setting("ba") if word.startswith("ba")]
    ['batch_norm_momentum=', 'background=', 'batch_size=']
    >>> complete_setting("background=t")
    ['background=true', 'background=false']
    """
    settings = {name: value for section in Config().to_dict().values() for name, value in section.items()}
    key, equals, _value = prefix.partition("=")
    if not equals:
        return [f"{name}=" for name in settings]
    return [f"{key}=true", f"{key}=false"] if isinstance(settings.get(key), bool) else []
