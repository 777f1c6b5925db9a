"""Settings from files, and names that are probably meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.helpers import one_line

from data_prep.errors import InputError
from kidney_seg.__main__ import main as commands
from kidney_seg.config.presets import PRESETS
from kidney_seg.config.run_config import SYNONYMS, Config, setting_owner
from kidney_seg.config.settings_file import read_settings
from kidney_seg.progressive.__main__ import main

YAML = "model:\n  size: 128\n  gates: [2, 3]\nsteps: 20\nalpha: 0.6  # of false negatives\n"


def test_a_file_stands_over_the_preset_and_set_over_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text(YAML)
    config = read_settings(tmp_path / "own.yaml", PRESETS["demo"])
    assert (config.model.size, config.model.gates, config.rounds.steps, config.loss.alpha) == (128, (2, 3), 20, 0.6)
    assert config.model.width_factor == PRESETS["demo"].model.width_factor
    arguments = ["--config", str(tmp_path / "own.yaml"), "--set", "steps=30", "--show-settings"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "preset demo (the default without --data); * differs from the preset paper"
    shown = {line[2:].split()[0]: (line[0], line[2:].split()[1]) for line in lines[1:]}
    assert shown["rounds.steps"] == ("*", "30") and shown["loss.alpha"] == ("*", "0.6")
    assert shown["loss.exponent"] == (" ", "0.75")


def test_what_every_run_writes_is_such_a_file(tmp_path: Path) -> None:
    config = PRESETS["few_patients"].with_settings(["steps=7"])
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    assert read_settings(tmp_path / "config.json", Config()) == config


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", '{"step": 3}', "did you mean 'steps'"),
        ("a.json", '{"rounds": {"lr": 3}}', "did you mean 'peak_rate'"),
        ("a.json", '{"model": 3}', "expected the settings of model"),
        ("a.json", "[1]", "expected names of settings"),
        ("a.json", '{"steps": "many"}', "found 'many', expected int"),
        ("a.json", '{"gamma": 1.3}', "expected exponent"),
        ("a.json", '{"peak_rate": 1e18}', "expected a number of at most 1e+15"),
        ("a.yaml", "steps: [", "cannot be read"),
        ("a.yaml", "!!python/object/apply:os.system ['true']", "cannot be read"),
        ("a.yml", "", "expected names of settings"),
        ("a.toml", "", "expected a name that ends in .json, .yaml or .yml"),
    ],
)
def test_other_files_are_refused_in_one_line_with_their_path(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_settings(tmp_path / name, Config())
    assert words in one_line(caught) and str(tmp_path / name) in one_line(caught)


LAUGHS = "\n".join(["a0: &a0 [1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", LAUGHS + "\nsteps: *a11", "aliases (*name) are not read"),
        ("a.yaml", "steps: 0x" + "f" * 100_000, "found a number of thousands of digits, expected int"),
        ("a.json", '{"hu_window": [' + "[1, 2], " * 100_000 + "[]]}", "found [[1, 2], [1, 2], "),
        ("a.json", '{"steps": {' + ", ".join(f'"{n}": {n}' for n in range(50_000)) + "}}", "found {'0': 0, "),
        ("a.json", "[" + "1, " * 100_000 + "1]", "found [1, 1, 1, 1, 1, 1, ...], expected names of settings"),
        ("a.json", '{"loss_function": "' + "x" * 1_000_000 + '"}', "expected one of"),
    ],
)
def test_no_file_makes_an_error_of_more_than_a_few_lines(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_settings(tmp_path / name, Config())
    assert words in one_line(caught) and len(one_line(caught)) < 600 + len(str(tmp_path))


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    for name in ("a.json", "a.yaml"):
        with pytest.raises(InputError) as caught:
            read_settings(tmp_path / name, Config())
        assert caught.value.code == "no_such_file"


@pytest.mark.parametrize(
    ("name", "meant"),
    [("step", "steps"), ("lr", "peak_rate"), ("epochs", "steps"), ("beta", "alpha"), ("Batch", "batch_size")],
)
def test_what_is_probably_meant(name: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--show-settings", "--set", f"{name}=1"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"error: setting {name}: unknown; did you mean '{meant}'?") and "\n" not in said


def test_every_synonym_means_a_setting() -> None:
    for meant in set(SYNONYMS.values()) - {"--seed"}:
        assert setting_owner(meant)


@pytest.mark.parametrize(("word", "meant"), [("train", "progressive"), ("predcit", "predict"), ("eval", "evaluate")])
def test_commands_that_are_probably_meant(word: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands([word]) == 2
    assert f"did you mean '{meant}'?" in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands(["--version"]) == 0
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    lines = capsys.readouterr().out.split("\n")
    assert ended.value.code == 0 and lines[0] == lines[1] and lines[0].startswith("kidney_seg ")
