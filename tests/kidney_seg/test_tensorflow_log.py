"""What a user sees of TensorFlow's start."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from data_prep.errors import InputError
from kidney_seg.tensorflow_log import check_backend

CODE = (
    "from kidney_seg.tensorflow_log import quiet_tensorflow; quiet_tensorflow()\n"
    "import sys; print('mine', file=sys.stderr)"
)


def run(environment: dict[str, str], code: str = CODE) -> str:
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stderr


@pytest.mark.slow
def test_only_our_own_lines_are_seen():
    plain = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    assert run(plain) == "mine\n"


@pytest.mark.slow
def test_a_level_that_the_user_set_is_left_alone():
    # nothing is imported here, so nothing is turned away later either
    assert run(os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0"}) == "mine\n"


@pytest.mark.slow
def test_garbage_is_searched_for_again_after_the_import():
    code = f"import atexit, gc\n{CODE}\nassert gc.isenabled() and gc.get_freeze_count() == 0; atexit._run_exitfuncs()"
    code += "\nprint(gc.get_freeze_count() > 100_000, file=sys.stderr)"
    plain = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    assert run(plain, code) == "mine\nTrue\n"


@pytest.mark.slow
def test_a_gpu_that_tensorflow_does_not_use_is_said():
    plain = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    code = f"import pathlib; from kidney_seg import tensorflow_log as log; log.NVIDIA = pathlib.Path('/')\n{CODE}"
    done = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True)
    first, *lines, last = done.stderr.splitlines()
    assert first == "warning: this system has an NVIDIA GPU, and TensorFlow does not use it:" and last == "mine"
    assert any("cuda" in line.lower() or "gpu" in line.lower() for line in lines)  # TensorFlow's or our words


@pytest.mark.parametrize("by", ["KERAS_BACKEND", "keras.json"])
@pytest.mark.parametrize(("backend", "allowed"), [("torch", False), ("tensorflow", True), ("nonsense", False)])
def test_another_backend_is_refused_in_one_line(by, backend, allowed, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if by == "KERAS_BACKEND":
        monkeypatch.setenv(by, backend)
    else:
        (tmp_path / by).write_text(json.dumps({"backend": backend}))
    if allowed:
        check_backend()
        return
    with pytest.raises(InputError) as caught:
        check_backend()
    assert by in str(caught.value) and "tensorflow or jax" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN's kernels are asked for on x86 alone")
@pytest.mark.parametrize(("given", "found"), [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")])
def test_onednn_is_asked_for_unless_the_user_says_otherwise(given: dict[str, str], found: str) -> None:
    plain = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    code = "import kidney_seg, os; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    assert subprocess.check_output([sys.executable, "-c", code], env=plain | given, text=True).strip() == found


def test_nothing_is_written_to_the_home_folder(tmp_path):
    """ONNX Runtime's telemetry writes an identifier and a database there; Keras its settings."""
    code = (
        "import kidney_seg, numpy, onnx, onnxruntime as ort\n"
        "from onnx import helper as h, TensorProto as t\n"
        "io = [h.make_tensor_value_info(n, t.FLOAT, [1]) for n in 'xy']\n"
        "graph = h.make_graph([h.make_node('Abs', ['x'], ['y'])], 'g', io[:1], io[1:])\n"
        "model = h.make_model(graph, ir_version=9, opset_imports=[h.make_opsetid('', 17)]).SerializeToString()\n"
        "session = ort.InferenceSession(model, providers=['CPUExecutionProvider'])\n"
        "assert session.run(None, {'x': numpy.float32([-2])})[0] == 2\n"
    )
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    own = ("ORT_DISABLE_TELEMETRY", "KERAS_HOME", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.rglob("*"))[2:]
