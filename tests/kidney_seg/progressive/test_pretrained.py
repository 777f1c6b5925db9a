"""A run that begins with a trained network's weights: what it takes, keeps, repeats and refuses."""

from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import pytest
from support import killing
from support.helpers import one_line

from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.geometry.network_grid import GridSettings
from kidney_seg.config.run_config import Config
from kidney_seg.model.attention_unet import build_model
from kidney_seg.model.model_file import load_model, save_model
from kidney_seg.progressive import __main__ as progressive_command
from kidney_seg.progressive import driver as progressive
from kidney_seg.progressive.pretrained import FREE, find_pretrained, load_pretrained, warning
from kidney_seg.run.layout import PRETRAINED as COPY
from kidney_seg.run.recipe import read_recipe

pytestmark = [pytest.mark.network, pytest.mark.slow]

# Adam moves a weight by about the rate a step: by .0004 here, where random weights differ by tenths.
TINY = killing.TINY.with_settings("starts=2 start_steps=4 max_rounds=0 peak_rate=1e-4".split())
OTHER = "size=64 hu_window=-200,300 batch_norm_momentum=0.99 foreground_prior=0.1 precision=mixed_bfloat16".split()


def save_new(path, config: Config, seed: int) -> None:
    """Save a network of random weights as a model file of a grid of its own."""
    keras.utils.set_random_seed(seed)
    save_model(build_model(config.model), config, GridSettings(config.model.size, 3.0), path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The run folder of an earlier training, of another size, window, momentum, prior, precision and loss."""
    root = tmp_path_factory.mktemp("earlier") / "run"
    save_new(root / "best.keras", TINY.with_settings([*OTHER, "alpha=0.5"]), seed=77)
    return root


@pytest.fixture(scope="module")
def cache(simulated):
    return simulated


@pytest.fixture(scope="module")
def finished(cache, model, tmp_path_factory):
    """A run that nothing disturbed: its folder, and what it said."""
    out, said = tmp_path_factory.mktemp("runs") / "undisturbed", []
    progressive.train(cache, out, TINY, seed=3, say=said.append, pretrained=model)
    return out, said


def trainable(path) -> list[np.ndarray]:
    return [variable.numpy() for variable in load_model(path).model.trainable_variables]


def distance(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def test_settings_that_do_not_count_are_those_that_the_model_had(model):
    assert {setting.partition("=")[0] for setting in OTHER} == set(FREE)
    assert all(getattr(load_model(model).config.model, name) != getattr(TINY.model, name) for name in FREE)


def test_a_run_begins_with_the_weights_of_a_model_of_another_size_and_window(finished, model):
    out, said = finished
    keras.utils.set_random_seed(3000)  # what start 1 of seed 3 would have without
    random = [variable.numpy() for variable in build_model(TINY.model).trainable_variables]
    given, made = trainable(model), trainable(out)
    assert 0 < distance(given, made) < 0.002
    assert distance(given, random) > 0.1
    assert load_model(out).config == TINY  # nothing of the earlier one's settings
    assert [line for line in said if line.endswith(", from pretrained weights")] == [
        f"round 0, start {start}: 4 steps of 4 slices of 4 patients, rate 0.0001, from pretrained weights"
        for start in (1, 2)
    ]


def test_starts_differ_by_their_draws(finished):
    out, _ = finished
    network, weights = build_model(TINY.model), []
    for start in (0, 1):
        network.load_weights(out / "rounds" / "00" / f"attempt{start}.weights.h5")
        weights.append([variable.numpy() for variable in network.trainable_variables])
    assert 0 < distance(*weights) < 0.002


def test_manifest_report_and_folder_tell_of_it(finished, model):
    out, _ = finished
    manifest = json.loads((out / "manifest.json").read_text())
    sha256 = sha256_of(model / "best.keras")
    assert (manifest["pretrained"], manifest["pretrained_sha256"]) == (str(model.resolve()), sha256)
    assert (out / COPY).read_bytes() == (model / "best.keras").read_bytes()
    assert f"run (SHA-256 {sha256[:12]})" in (out / "report.html").read_text()


class Stop(Exception):
    """What a killed process cannot say."""


def test_a_stopped_run_needs_nothing_but_its_own_copy_and_ends_with_the_same_bits(finished, cache, model, tmp_path):
    out, _ = finished
    earlier, again, said = tmp_path / "earlier", tmp_path / "again", []
    shutil.copytree(model, earlier)

    def train(stop_at: str) -> None:
        def say(line: str) -> None:
            said.append(line)
            if line.startswith(stop_at):
                raise Stop

        progressive.train(cache, again, TINY, seed=3, say=say, pretrained=earlier)

    with pytest.raises(Stop):
        train("round 0, start 1: epoch 2")
    shutil.rmtree(earlier)
    train("never")  # start 1 from its checkpoint, start 2 from the copy
    assert any(line.startswith("round 0, start 1: resumed after step") for line in said)
    assert killing.result(again) == killing.result(out)


def test_the_copy_is_whole_or_not_there(model, tmp_path):
    found = find_pretrained(model, TINY.model, tmp_path)
    (tmp_path / COPY).write_bytes(b"damaged")
    assert sha256_of(found.keep(tmp_path)) == found.sha256 == sha256_of(model / "best.keras")
    written = (tmp_path / COPY).stat().st_mtime_ns
    assert found.keep(tmp_path).stat().st_mtime_ns == written  # whole already
    shutil.copy(model / "best.keras", tmp_path / "mine.keras")
    found = find_pretrained(tmp_path / "mine.keras", TINY.model, tmp_path / "new")
    (tmp_path / "mine.keras").write_bytes(b"another training's")
    with pytest.raises(InputError, match="changed while it was copied"):
        found.keep(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_patients_who_were_learned_from_and_are_tested_are_named(finished, cache, model, tmp_path):
    run, said = finished
    split = json.loads((cache / "split.json").read_text())
    found = find_pretrained(run, TINY.model, tmp_path / "next")
    assert found.seen() == set(split["train"])
    assert warning(found, split["test"]) is None and not any("warning" in line for line in said)
    learned = split["train"][0]
    assert f"1 of 2 test patients ({learned})" in warning(found, [learned, "nobody"])
    assert warning(find_pretrained(model, TINY.model, tmp_path / "next"), split["train"]) is None  # nothing tells
    swapped = tmp_path / "swapped.json"
    swapped.write_text(json.dumps({**split, "train": split["test"], "test": split["train"]}))
    lines = []

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("round 0"):
            raise Stop

    with pytest.raises(Stop):
        progressive.train(cache, tmp_path / "next", TINY, say=say, split_file=swapped, pretrained=run)
    assert f"{len(split['train'])} of {len(split['train'])} test patients" in lines[0]


def test_reproduced_from_what_lies_beside_the_manifest(finished, cache, model, tmp_path, capsys):
    out, _ = finished
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("manifest.json", COPY):
        shutil.copy(out / name, moved)
    command = ["--reproduce", str(moved / "manifest.json"), "--out", str(tmp_path / "again")]
    assert progressive_command.main([*command, "--pretrained", str(model)]) == 2
    assert "add only --data" in capsys.readouterr().err
    assert progressive_command.main(command) in (0, 1)
    again = json.loads((tmp_path / "again" / "manifest.json").read_text())
    assert again["pretrained_sha256"] == sha256_of(model / "best.keras")
    assert killing.result(tmp_path / "again") == killing.result(out)
    (moved / COPY).write_bytes(b"another")
    for found in ("has another checksum", "is missing"):
        with pytest.raises(InputError, match=found) as caught:
            read_recipe(moved).pretrained()
        assert str(moved / COPY) in one_line(caught)
        (moved / COPY).unlink(missing_ok=True)


def test_going_on_with_another_model_or_none_is_refused(finished, cache, model, tmp_path):
    out, _ = finished
    save_new(tmp_path / "other.keras", TINY, seed=78)
    before = (out / COPY).read_bytes()
    for other in (tmp_path / "other.keras", None):
        with pytest.raises(InputError, match=r"holds a run of other settings \(pretrained_sha256: '") as caught:
            progressive.train(cache, out, TINY, seed=3, pretrained=other)
        one_line(caught)
    assert (out / COPY).read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["width_factor=0.2"], "(width_factor: 0.1 -> 0.2); give --set width_factor=0.1, or"),
        (
            ["gates=2,3", "input_slices=3"],
            "(input_slices: 1 -> 3; gates: [] -> [2, 3]); give --set input_slices=1 gate",
        ),
        (["activation=sigmoid"], "(activation: 'softmax' -> 'sigmoid'); give --set activation=softmax, or"),
    ],
)
def test_another_network_is_refused_before_anything_is_made(settings, said, cache, model, tmp_path, capsys):
    command = [
        "--data",
        str(cache),
        "--out",
        str(tmp_path / "run"),
        "--pretrained",
        str(model),
        "--set",
        *killing.settings_of(TINY),
    ]
    assert progressive_command.main([*command, *settings]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {model}/best.keras: ") and error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "run").exists()


def test_no_model_is_refused(finished, cache, tmp_path, capsys):
    for path in (tmp_path / "absent", tmp_path):
        command = ["--data", str(cache), "--out", str(tmp_path / "run"), "--pretrained", str(path)]
        assert progressive_command.main([*command, "--set", *killing.settings_of(TINY)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {path}: no ") and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_whose_copy_is_gone_with_its_source_says_so(finished, model, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(finished[0] / "manifest.json", run)
    moved = model.with_name("moved")
    model.rename(moved)
    try:
        with pytest.raises(
            InputError, match=r"no such model.* the run's own copy, .* is also missing or damaged"
        ) as no:
            find_pretrained(model, TINY.model, run)
    finally:
        moved.rename(model)
    one_line(no)


def test_arrays_that_differ_are_named(tmp_path):
    """A file whose settings do not tell the truth, such as one of another version of the network."""
    path = tmp_path / "wrong.keras"
    wider = TINY.with_settings(["width_factor=0.2"])
    save_model(build_model(wider.model), TINY, GridSettings(32), path)
    with pytest.raises(InputError, match=r"encoder1_conv1/kernel of shape \(3, 3, 1, 6\), expected encoder1_conv1/k"):
        load_pretrained(build_model(TINY.model), path)
