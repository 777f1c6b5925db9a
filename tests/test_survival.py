"""A training that is killed, stopped or damaged ends with the same bits, or says in one line why it does not go on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import killing
import pytest
from helpers import simulated_cache
from test_checkpoint import DAMAGES

from kidney_seg.checkpoint import Checkpoints
from kidney_seg.progressive import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return simulated_cache(tmp_path_factory.mktemp("data"))


def test_killed_at_25_random_moments(cache, tmp_path):
    arguments = [sys.executable, killing.__file__, str(cache), str(tmp_path), "--kills", "25"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    print(done.stdout)  # the seed, to repeat it
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout.splitlines()[-1]
    assert said.startswith("25 kills") and ", 0 while a file was written" not in said


@pytest.fixture(scope="module")
def undisturbed(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(cache, out, killing.TINY, seed=3, say=lambda line: None)
    return killing.result(out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_within_a_batch_saved(number, cache, undisturbed, tmp_path):
    command = [sys.executable, "-m", "kidney_seg.progressive", "--data", str(cache), "--out", str(tmp_path / "run")]
    command += ["--seed", "3", "--set", *killing.settings_of(killing.TINY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "epoch 2/5" in line:
                break
        process.send_signal(number)
        asked = time.monotonic()
        rest, said = process.communicate()
        assert time.monotonic() - asked < 30  # a start of 40 steps is over in a second: what matters is how it ends
    assert process.returncode == 128 + number
    last = said.strip().splitlines()[-1]
    assert last == f"stopped by {number.name} in round 0, start 1, which is saved: run the same command again to go on"
    assert "epoch 3/5" not in rest
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr[-2000:]  # 1: this tiny network finds nothing
    assert "goes on after step" in done.stdout
    assert killing.result(tmp_path / "run") == undisturbed


class Enough(Exception):
    """Stands for a crash at a chosen line."""


def crash_at(words: str):
    def say(line: str) -> None:
        if words in line:
            raise Enough

    return say


@pytest.mark.parametrize(("damaged", "kind"), [("last", "truncated"), ("both", "a bit flipped inside")])
def test_damaged_checkpoints_fall_back(kind, damaged, cache, undisturbed, tmp_path):
    with pytest.raises(Enough):
        train(cache, tmp_path / "run", killing.TINY, seed=3, say=crash_at("round 1: epoch 3/5"))
    files = sorted((tmp_path / "run" / "checkpoints").glob("*.npz"))
    assert len(files) == 2
    for path in files[-1:] if damaged == "last" else files:
        path.write_bytes(DAMAGES[kind](path.read_bytes()))
    said = []
    train(cache, tmp_path / "run", killing.TINY, seed=3, say=said.append)
    warned = [line for line in said if "this checkpoint is damaged" in line]
    assert len(warned) == (1 if damaged == "last" else 2) and all("\n" not in line for line in warned)
    assert any("goes on after step" in line for line in said) == (damaged == "last")
    assert killing.result(tmp_path / "run") == undisturbed


@pytest.mark.parametrize("which", ["rounds/00/attempt0.weights.h5", "best.keras"])
def test_damaged_weights_are_trained_or_written_anew(which, cache, undisturbed, tmp_path):
    with pytest.raises(Enough):
        train(cache, tmp_path / "run", killing.TINY, seed=3, say=crash_at("round 1: epoch 3/5"))
    path = tmp_path / "run" / which
    path.write_bytes(DAMAGES["a bit flipped inside"](path.read_bytes()))
    said = []
    train(cache, tmp_path / "run", killing.TINY, seed=3, say=said.append)
    assert any("missing or damaged" in line and str(path) in line for line in said)
    assert killing.result(tmp_path / "run") == undisturbed


def test_checkpoints_of_another_round_are_not_taken(cache, undisturbed, tmp_path):
    with pytest.raises(Enough):
        train(cache, tmp_path / "run", killing.TINY, seed=3, say=crash_at("round 0: score"))
    kept = Checkpoints(tmp_path / "run" / "checkpoints")
    assert kept.newest(print) is None  # a finished attempt needs none
    kept.save({"round": 7, "attempt": 0, "progress": {}}, {})
    train(cache, tmp_path / "run", killing.TINY, seed=3, say=lambda line: None)
    assert killing.result(tmp_path / "run") == undisturbed


def test_two_seeds_differ(cache, undisturbed, tmp_path: Path):
    train(cache, tmp_path / "run", killing.TINY.with_settings(["max_rounds=0"]), seed=4, say=lambda line: None)
    first = "rounds/00/attempt0.weights.h5"
    assert killing.result(tmp_path / "run")["weights"][first] != undisturbed["weights"][first]
