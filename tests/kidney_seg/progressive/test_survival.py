"""A training that is killed, stopped or damaged ends with the same bits, or says in one line why it does not go on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import killing
from support.killing import DAMAGES

from kidney_seg.progressive import __main__ as progressive_command
from kidney_seg.progressive.driver import train
from kidney_seg.run.checkpoints import Checkpoints

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture(scope="module")
def cache(simulated):
    return simulated


@pytest.fixture(scope="module")
def undisturbed_run(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(cache, out, killing.TINY, seed=3, say=lambda line: None)
    return out


@pytest.fixture(scope="module")
def undisturbed(undisturbed_run):
    return killing.result(undisturbed_run)


def test_killed_at_random_moments(cache, undisturbed_run, tmp_path):
    arguments = [sys.executable, killing.__file__, str(cache), str(tmp_path)]
    arguments += ["--undisturbed", str(undisturbed_run), "--kills", "4"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    print(done.stdout)  # the seed, to repeat it
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout.splitlines()[-1]
    assert said.startswith("4 kills") and ", 0 while a file was written" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_within_its_round_saved(number, cache, undisturbed, tmp_path, capsys):
    command = [sys.executable, "-m", "kidney_seg.progressive", "--data", str(cache), "--out", str(tmp_path / "run")]
    command += ["--seed", "3", "--set", *killing.settings_of(killing.TINY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "epoch 1/5" in line:
                break
        process.send_signal(number)
        rest, said = process.communicate()
    assert process.returncode == 128 + number
    last = said.strip().splitlines()[-1]
    assert last == f"stopped by {number.name} in round 0, start 1, which is saved: run the same command again to resume"
    assert (
        "epoch 5/5" not in rest
    )  # within a batch, as kidney_seg/training/test_stop_request.py shows; how many pass before depends on speed
    assert list((tmp_path / "run" / "checkpoints").glob("*.npz"))
    if number == signal.SIGINT:  # what goes on does not know which signal it was
        return
    # in this process, which has loaded TensorFlow and traced the step; 1: this tiny network finds nothing
    assert progressive_command.main(command[3:]) in (0, 1)
    assert "resumed after step" in capsys.readouterr().out
    assert killing.result(tmp_path / "run") == undisturbed


class Enough(Exception):
    """Stands for a crash at a chosen line."""


MOMENTS = ("round 0: score", "round 1: epoch 3/5")


@pytest.fixture(scope="module")
def crashed(cache, tmp_path_factory):
    """The folder of a run as it was at each of the moments, by the line that it said then; the last one ended it."""
    root, kept = tmp_path_factory.mktemp("crashed"), {}

    def say(line: str) -> None:
        for words in MOMENTS:
            if words in line:
                kept[words] = shutil.copytree(root / "run", root / f"copy{len(kept)}")
        if MOMENTS[-1] in line:
            raise Enough

    with pytest.raises(Enough):
        train(cache, root / "run", killing.TINY, seed=3, say=say)
    return kept


@pytest.fixture
def run(crashed, tmp_path):
    return shutil.copytree(crashed["round 1: epoch 3/5"], tmp_path / "run")


def go_on(cache: Path, run: Path) -> list[str]:
    """Run the same command again; returns what it said."""
    said: list[str] = []
    train(cache, run, killing.TINY, seed=3, say=said.append)
    return said


def damage(path: Path, kind: str) -> None:
    path.write_bytes(DAMAGES[kind](path.read_bytes()))


def replaced(said: list[str], path: Path) -> bool:
    return any("missing or damaged" in line and str(path) in line for line in said)


def damaged_checkpoints(said: list[str]) -> int:
    warned = [line for line in said if "this checkpoint is damaged" in line]
    assert all("\n" not in line for line in warned)
    return len(warned)


def test_a_truncated_checkpoint_gives_way_to_the_one_before(run, cache, undisturbed):
    files = sorted((run / "checkpoints").glob("*.npz"))
    assert len(files) == 2
    damage(files[-1], "truncated")
    said = go_on(cache, run)
    assert damaged_checkpoints(said) == 1 and any("resumed after step" in line for line in said)
    assert killing.result(run) == undisturbed


def test_without_checkpoints_and_model_the_round_begins_anew(run, cache, undisturbed):
    for path in [*(run / "checkpoints").glob("*.npz"), run / "best.keras"]:
        damage(path, "a bit flipped inside")
    said = go_on(cache, run)
    assert damaged_checkpoints(said) == 2 and not any("resumed after step" in line for line in said)
    assert replaced(said, run / "best.keras")
    assert killing.result(run) == undisturbed


def test_damaged_weights_are_trained_anew(run, cache, undisturbed):
    path = run / "rounds" / "00" / "attempt0.weights.h5"
    damage(path, "a bit flipped inside")
    assert replaced(go_on(cache, run), path)
    assert killing.result(run) == undisturbed


def test_checkpoints_of_another_round_are_not_taken(crashed, cache, undisturbed, tmp_path):
    run = shutil.copytree(crashed["round 0: score"], tmp_path / "run")
    kept = Checkpoints(run / "checkpoints")
    assert kept.newest(print) is None  # a finished attempt needs none
    kept.save({"round": 7, "attempt": 0, "progress": {}}, {})
    go_on(cache, run)
    assert killing.result(run) == undisturbed


def test_two_seeds_differ(cache, undisturbed, tmp_path):
    def say(line: str) -> None:
        if "round 0: score" in line:
            raise Enough

    with pytest.raises(Enough):
        train(cache, tmp_path / "run", killing.TINY, seed=4, say=say)
    first = "rounds/00/attempt0.weights.h5"
    assert killing.weights_of(tmp_path / "run")[first] != undisturbed["weights"][first]
