"""Two processes on one host, under JAX, train as one; one that is killed ends the other; one goes on alone."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from support import killing
from support.helpers import free_port, simulated_cache

from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from kidney_seg.model.attention_unet import build_model
from kidney_seg.model.model_file import save_model
from kidney_seg.training.process_group import GONE, Ended, Group, join

pytestmark = pytest.mark.network

needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed (extra `test`)")
JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
JAX["JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS"] = "0"  # compiled in the first process, then read


class Training:
    """The command, in as many processes as asked for; what they say goes to files."""

    def __init__(self, cache: Path, run: Path, processes: int = 1, *, pretrained: Path):
        command = [
            sys.executable,
            "-m",
            "kidney_seg.progressive",
            "--data",
            str(cache),
            "--out",
            str(run),
            "--seed",
            "3",
            "--pretrained",
            str(pretrained),
        ]
        command += ["--set", *killing.settings_of(killing.TINY), "start_steps=120", "max_rounds=0"]
        place = f"127.0.0.1:{free_port()}"
        self.processes = []
        self.said = [run.parent / f"said{index}.txt" for index in range(processes)]
        for index, path in enumerate(self.said):
            group = ["--coordinator", place, "--processes", str(processes), "--process", str(index)]
            with open(path, "w") as file:
                arguments = command + (group if processes > 1 else [])
                env = os.environ | JAX | {"JAX_COMPILATION_CACHE_DIR": str(run.parent / "compiled")}
                self.processes.append(
                    subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=file, text=True, env=env)
                )

    def wait_for(self, words: str) -> None:
        for line in self.processes[0].stdout:
            if words in line:
                return
        raise AssertionError(f"never said {words!r}: {self.said[0].read_text()[-3000:]}")

    def end(self) -> tuple[list[int], list[list[str]], str]:
        """Wait for all; returns their exit codes, their lines of errors and notes, and what process 0 printed."""
        printed = [process.communicate(timeout=600)[0] for process in self.processes]
        errors = [[line for line in path.read_text().splitlines() if "Gloo" not in line] for path in self.said]
        return [process.returncode for process in self.processes], errors, printed[0]


def connected() -> tuple[Connection, Connection]:
    return tuple(Connection(end.detach()) for end in socket.socketpair())


def test_all_agree_and_a_message_reaches_everybody() -> None:
    ends = {peer: connected() for peer in (1, 2)}
    leader = Group(0, 3, {peer: here for peer, (here, _) in ends.items()})
    followers = [Group(peer, 3, {0: there}) for peer, (_, there) in ends.items()]
    leader.send(b"work")
    assert [follower.receive() for follower in followers] == [b"work", b"work"]
    for asked, expected in (((None, None, None), None), ((None, 15, None), 15), ((2, 15, None), 2)):
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda group, value: group.agree(value), [leader, *followers], asked))
        assert found == [expected] * 3
    leader.end(143)
    for follower in followers:
        with pytest.raises(Ended) as caught:
            follower.receive()
        assert caught.value.code == 143


ALONE = """
import sys, time
from multiprocessing.connection import Connection
from kidney_seg.training import process_group
process_group.GRACE_SECONDS = 0.5
index = int(sys.argv[1])
process_group.Group(index, 2, {1 - index: Connection(int(sys.argv[2]))})
print("in a step", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("index", "last", "code", "said"),
    [
        (1, None, GONE, "error: process 0 of 2 is gone (killed, or"),
        (0, None, GONE, "error: process 1 of 2 is gone (killed, or"),
        (1, 2, 2, "error: process 0 has ended the training"),
    ],
)
def test_a_process_whose_companion_is_gone_ends_within_its_step(
    index: int, last: int | None, code: int, said: str
) -> None:
    here, there = connected()
    arguments = [sys.executable, "-c", ALONE, str(index), str(there.fileno())]
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=[there.fileno()]
    )
    there.close()
    assert process.stdout.readline() == "in a step\n"
    if last is None:
        here.close()
    else:
        Group(0, 2, {1: here}).end(last)
    lines = process.communicate(timeout=300)[1].splitlines()
    assert process.returncode == code
    assert len(lines) == 1 and lines[0].startswith(said)


def journal(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated_cache(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
@needs_jax
def test_stopped_killed_and_gone_on_with_alone(cache: Path, tmp_path: Path) -> None:
    run, model = tmp_path / "run", tmp_path / "model.keras"
    save_model(build_model(killing.TINY.model), killing.TINY, GridSettings(32), model)
    both = Training(cache, run, 2, pretrained=model)
    both.wait_for("from pretrained weights")
    both.wait_for(": epoch 1/")
    both.processes[1].send_signal(signal.SIGTERM)  # a follower's signal stops all
    codes, errors, printed = both.end()
    assert codes == [143, 143], errors
    assert errors[0][-1].startswith("stopped by SIGTERM in round 0, start 1, which is saved")

    both = Training(cache, run, 2, pretrained=model)
    both.wait_for("resumed after step")
    both.wait_for(": epoch ")
    both.processes[1].kill()
    codes, errors, _ = both.end()
    assert codes == [GONE, -signal.SIGKILL], errors
    lines = [line for line in errors[0] if line.startswith("error: ")]
    assert len(lines) == 1 and lines[0].startswith("error: process 1 of 2 is gone"), errors
    assert "Traceback" not in "\n".join(errors[0])

    alone = Training(cache, run, pretrained=model)
    codes, errors, printed = alone.end()
    assert codes[0] in (0, 1), errors  # 1: this tiny network finds nothing
    assert "resumed after step" in printed and "Table 1" in printed
    attempts = [(event["round"], event["attempt"]) for event in journal(run) if event["event"] == "attempt"]
    assert attempts == [(0, 0)]
    assert not list(run.rglob(".tmp-*"))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("node1", 2, 0), "expected HOST:PORT"),
        (("127.0.0.1:9", 2, 2), "--processes 2 --process 2: expected both"),
        (("127.0.0.1:9", None, 0), "--processes None --process 0: expected both"),
    ],
)
def test_places_that_are_none(place: tuple, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    with pytest.raises(InputError, match="set KERAS_BACKEND=jax"):
        join(*place)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(InputError, match=said):
        join(*place)
