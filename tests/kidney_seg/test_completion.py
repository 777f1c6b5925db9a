"""What Tab offers in bash is what argparse knows: of every command all options and choices, so that neither rots."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import HEAVY

from kidney_seg.__main__ import SHORT, load_command
from kidney_seg.config.presets import PRESETS
from kidney_seg.config.run_config import Config

ROOT = Path(__file__).resolve().parents[2]
BASH = shutil.which("bash")
REGISTER = Path(sys.executable).with_name("register-python-argcomplete")
TAB = """
eval "$(cat script)"
while IFS= read -r line; do
  COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMPREPLY=()
  _python_argcomplete kidney-seg
  echo "${COMPREPLY[*]}"
done
"""
OPTIONS = {name: load_command(module).make_parser()._actions for name, module in SHORT.items()}
CHOICES = [
    (name, action)
    for name, actions in OPTIONS.items()
    for action in actions
    if action.choices and action.option_strings
]
pytestmark = pytest.mark.skipif(BASH is None, reason="there is no bash")


@pytest.fixture(scope="module")
def press(tmp_path_factory):
    """A function that types lines into one bash, presses Tab after each, and returns the words that each is offered."""
    root = tmp_path_factory.mktemp("shell")
    made = subprocess.run([sys.executable, REGISTER, "kidney-seg"], capture_output=True, text=True, check=True)
    (root / "script").write_text(made.stdout)
    program = root / "bin" / "kidney-seg"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kidney_seg "$@"\n')
    program.chmod(0o755)
    (root / "runs").mkdir()
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def press(*lines: str) -> list[list[str]]:
        done = subprocess.run(
            [BASH, "--norc", "-c", TAB], input="".join(f"{line}\n" for line in lines), cwd=root, env=env,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [line.split() for line in done.stdout.splitlines()]

    return press


def test_commands(press):
    every, some = press("kidney-seg ", "kidney-seg pr")
    assert every == list(SHORT)
    assert some == ["progressive", "predict"]


def test_options_of_every_command(press):
    for (name, actions), offered in zip(
        OPTIONS.items(), press(*(f"kidney-seg {name} --" for name in SHORT)), strict=True
    ):
        known = [word for action in actions for word in action.option_strings if word.startswith("--")]
        assert len(known) > 0 and sorted(offered) == sorted(known), name


def test_choices_of_every_option(press):
    assert len(CHOICES) >= 8
    lines = [f"kidney-seg {name} {action.option_strings[-1]} " for name, action in CHOICES]
    for (name, action), offered in zip(CHOICES, press(*lines), strict=True):
        assert offered == [str(choice) for choice in action.choices], f"{name} {action.dest}"


def test_presets_and_settings(press):
    names = [
        f"{own.name}="
        for part in dataclasses.fields(Config)
        for own in dataclasses.fields(getattr(Config(), part.name))
    ]
    line = "kidney-seg progressive --set steps=9"
    presets, keys, after, truths, others = press(
        "kidney-seg model --preset ",
        "kidney-seg model --set ",
        f"{line} batch",
        f"{line} background=",
        f"{line} --pres",
    )
    assert presets == list(PRESETS)
    assert sorted(keys) == sorted(names)
    assert after == ["batch_norm_momentum=", "batch_size="]
    assert truths == ["true", "false"]  # bash has cut the word at its `=`
    assert others == ["--preset"]


def test_files_but_not_for_numbers(press):
    folders, numbers = press("kidney-seg watch runs", "kidney-seg progressive --seed ")
    assert folders == ["runs/"]
    assert numbers == []


@pytest.mark.parametrize("name", SHORT)
def test_tab_loads_nothing_heavy(name):
    code = (
        "import sys, argcomplete\n"
        f"argcomplete.autocomplete = lambda *a, **k: print([name for name in {HEAVY} if name in sys.modules])\n"
        "from kidney_seg.__main__ import main\nmain(['--help'])"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "_ARGCOMPLETE": "1", "COMP_LINE": f"kidney-seg {name} "}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "[]"
