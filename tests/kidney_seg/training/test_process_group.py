"""Two processes on one host, under JAX, train as one; one that is killed ends the other; one goes on alone."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import killing
from support.helpers import free_port

from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from kidney_seg.model.attention_unet import build_model
from kidney_seg.model.model_file import save_model
from kidney_seg.training.process_group import GONE, ProcessGroup, join

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
        errors = [[line for line in path.read_text().splitlines() if "Gloo] Rank" not in line] for path in self.said]
        return [process.returncode for process in self.processes], errors, printed[0]


TALK = """
import json, sys
from types import SimpleNamespace
import numpy as np
from data_prep.errors import InputError
from kidney_seg.config.run_config import Config
from kidney_seg.pipeline.sampling import Samples
from kidney_seg.training.launch import check_same
from kidney_seg.training.process_group import TrainingEnded, join

index, place, what = int(sys.argv[1]), sys.argv[2], sys.argv[3]
group = join(place, 2, index)
if what == "lost":
    while True:
        print(group.agree(None), flush=True)
found = [str(group.share(text=f"from {index}")["text"])]
found += [group.agree(values[index]) for values in ((None, None), (None, 15), (2, 15))]
columns = {name: np.arange(6).reshape(3, 2) + 2**60 for name in Samples.__dataclass_fields__}
given = {"weight0": np.float32([[-0.0, 1e-40, 0.1]]), "optimizer0": np.int32(7)}
if index == 0:
    group.send_round(given, [Samples(**columns)] * 2, 0.1, 5)
else:
    state, epochs, *numbers = group.receive_round()
    assert numbers == [0.1, 5] and len(epochs) == 2
    for wanted, got in ((given, state), (columns, vars(epochs[1]))):
        assert set(wanted) == set(got)
        assert all(wanted[name].tobytes() == got[name].tobytes() for name in wanted)
for settings, data in ((["steps=10"], "0"), ([f"steps={10 + index}"], "0"), ([], str(index))):
    try:
        check_same(group, SimpleNamespace(root="CACHE", data_sha256=data), Config().with_settings(settings))
    except InputError as error:
        found.append(str(error))
try:
    group.end(143)
    assert index == 0 or group.share()
except TrainingEnded as ended:
    found.append(ended.args[0])
print(json.dumps(found))
"""


class Talk:
    """Two processes that only talk to each other."""

    def __init__(self, what: str):
        command = [sys.executable, "-c", TALK]
        place = f"127.0.0.1:{free_port()}"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": os.environ | JAX}
        self.both = [subprocess.Popen([*command, str(index), place, what], **pipes) for index in range(2)]

    def end(self) -> tuple[list[int], list[str], list[list[str]]]:
        """Return exit codes, what was printed, and lines of errors."""
        outputs = [process.communicate(timeout=300) for process in self.both]
        errors = [[line for line in error.splitlines() if "Gloo] Rank" not in line] for _, error in outputs]
        return [process.returncode for process in self.both], [printed for printed, _ in outputs], errors


@pytest.mark.slow
@needs_jax
def test_all_agree_and_what_is_sent_arrives_bit_for_bit() -> None:
    codes, printed, errors = Talk("all").end()
    assert codes == [0, 0], errors
    first, second = (json.loads(text.splitlines()[-1]) for text in printed)
    assert first[:4] == second[:4] == ["from 0", None, 15, 2]
    assert first[4:] == ["process 1 has another cache or other settings, see its output"] * 2
    assert second[4].startswith("process 1 has other settings than process 0 (steps: ")
    assert second[5:] == ["CACHE: process 1 finds other data here than process 0; give all the same cache", 143]


@pytest.mark.slow
@needs_jax
@pytest.mark.parametrize("killed", [1, 0])
def test_a_killed_process_ends_the_other(killed: int) -> None:
    talk = Talk("lost")
    assert "None" in (talk.both[0].stdout.readline() + talk.both[0].stdout.readline())
    talk.both[killed].kill()
    codes, _, errors = talk.end()
    other, lines = 1 - killed, errors[1 - killed]
    assert codes[killed] == -signal.SIGKILL
    assert not any("Traceback" in line for line in lines)
    if killed == 1:
        assert codes[other] == GONE
        assert len(lines) == 1 and lines[0].startswith("error: process 0 of 2 lost another one"), lines
    else:  # JAX's own coordinator was in it: JAX ends the others in its own words, unless ours come first
        assert codes[other] in (GONE, -signal.SIGABRT)
        assert any("error: process 1 of 2 lost another one" in line or "another task died" in line for line in lines)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("a.h5: damaged"), 2, "error: a.h5: damaged\n"),
        (
            ValueError("UNKNOWN: Gloo AllGather failed: closed\nmore"),
            GONE,
            "(UNKNOWN: Gloo AllGather failed: closed); run",
        ),
        (ValueError("a defect"), 1, "ValueError: a defect\n"),
    ],
)
def test_errors_after_which_a_process_leaves(
    error: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as caught:
        ProcessGroup(0, 2).leave(error)
    assert caught.value.code == code
    assert said in capsys.readouterr().err


def journal(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]


@pytest.mark.slow
@needs_jax
def test_stopped_killed_and_gone_on_with_alone(simulated: Path, tmp_path: Path) -> None:
    run, model = tmp_path / "run", tmp_path / "model.keras"
    save_model(build_model(killing.TINY.model), killing.TINY, GridSettings(32), model)
    both = Training(simulated, run, 2, pretrained=model)
    both.wait_for("from pretrained weights")
    both.wait_for(": epoch ")
    both.processes[1].send_signal(signal.SIGTERM)  # of the one that does not write: it stops both
    codes, errors, printed = both.end()
    assert codes == [143, 143], errors
    assert errors[0][-1].startswith("stopped by SIGTERM in round 0, start 1, which is saved")

    both = Training(simulated, run, 2, pretrained=model)
    both.wait_for("resumed after step")
    both.wait_for(": epoch ")
    both.processes[1].kill()
    codes, errors, _ = both.end()
    assert codes == [GONE, -signal.SIGKILL], errors
    lines = [line for line in errors[0] if line.startswith("error: ")]
    assert len(lines) == 1 and lines[0].startswith("error: process 0 of 2 lost another one"), errors
    assert "Traceback" not in "\n".join(errors[0])

    alone = Training(simulated, run, pretrained=model)
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
