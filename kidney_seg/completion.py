"""Completion of `kidney-seg COMMAND ...` by Tab, through argcomplete: commands, options, choices, settings, files."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping

from argcomplete import FilesCompleter, autocomplete


def complete(commands: Mapping[str, tuple[str, str]], line: str) -> None:
    """Answer the shell, which asks what may follow on `line`, and end the process.

    commands: by name, the module of each and a line about it. Only those that `line` names are loaded.
    """
    parser = argparse.ArgumentParser(prog="kidney-seg")
    choices = parser.add_subparsers()
    for name, (module, what) in commands.items():
        own = [importlib.import_module(module).make_parser()] if name in line.split() else []
        choices.add_parser(name, help=what, parents=own, add_help=not own)
    autocomplete(parser, always_complete_options=False, default_completer=_FilesUnlessNumbers())


class _FilesUnlessNumbers(FilesCompleter):
    def __call__(self, prefix: str, **about: object) -> list[str]:
        number = getattr(about["action"], "type", None) in (int, float)
        return [] if number else super().__call__(prefix, **about)
