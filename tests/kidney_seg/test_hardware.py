"""The device that is asked for, and the line that long commands begin with."""

from __future__ import annotations

import argparse

import pytest
from support.helpers import one_line
from support.threshold_model import write_threshold_model

from data_prep.errors import InputError
from kidney_seg import hardware, tensorflow_log
from kidney_seg.hardware import add_device_option, instructions, start_line, threads, use_device
from kidney_seg.predict.engines import choose_engine, make_job

pytestmark = pytest.mark.network


def test_devices_that_can_be_named(capsys):
    parser = argparse.ArgumentParser()
    add_device_option(parser)
    assert [parser.parse_args(["--device", name]).device for name in ("cpu", "gpu", "gpu:1")] == ["cpu", "gpu", "gpu:1"]
    assert parser.parse_args([]).device is None
    for wrong in ("", "cuda", "gpu:", "gpu:-1", "cpu:0", "GPU"):
        with pytest.raises(SystemExit):
            parser.parse_args(["--device", wrong])
        assert "expected cpu, gpu or gpu:N" in capsys.readouterr().err


class Library:
    """A TensorFlow with two GPUs that has, or has not, begun to compute."""

    def __init__(self, begun: bool = False):
        self.config, self.begun, self.visible = self, begun, ["GPU:0", "GPU:1"]

    def list_physical_devices(self, kind):
        return ["GPU:0", "GPU:1"]

    def get_visible_devices(self, kind):
        return self.visible

    def set_visible_devices(self, devices, kind):
        if self.begun:
            raise RuntimeError("Visible devices cannot be modified after being initialized")
        self.visible = devices


@pytest.mark.parametrize(("device", "seen"), [("cpu", []), ("gpu", ["GPU:0"]), ("gpu:1", ["GPU:1"])])
def test_tensorflow_sees_the_device_alone(device, seen, monkeypatch):
    library = Library()
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", library)
    use_device(device)
    assert library.visible == seen
    library.begun = True
    use_device(device)  # is so already
    library.visible = ["GPU:0", "GPU:1"]
    with pytest.raises(InputError, match="already uses other devices") as caught:
        use_device(device)
    one_line(caught)


def test_a_gpu_that_does_not_exist_is_refused(monkeypatch, tmp_path):
    use_device(None)
    use_device("cpu")
    with pytest.raises(InputError, match=r"--device gpu: TensorFlow finds no GPU; use cpu") as caught:
        use_device("gpu")
    assert caught.value.code == "no_gpu"
    monkeypatch.setattr(tensorflow_log, "NVIDIA", tmp_path)  # a driver, and no libraries
    with pytest.raises(InputError, match=r"finds no GPU; install the libraries of CUDA"):
        use_device("gpu:1")
    assert start_line(engine="keras", precision="float32", model="m").startswith("device: CPU (TensorFlow does not use")
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", Library())
    with pytest.raises(InputError, match=r"--device gpu:2: TensorFlow finds 2 GPUs; they are numbered from 0"):
        use_device("gpu:2")


def test_the_engine_follows_the_device(monkeypatch, tmp_path):
    monkeypatch.setattr(tensorflow_log, "NVIDIA", tmp_path)
    assert [choose_engine("auto", device) for device in (None, "cpu", "gpu")] == ["keras", "onnx", "keras"]
    with pytest.raises(InputError, match="--engine onnx: computes on the processor, found --device gpu:1"):
        choose_engine("onnx", "gpu:1")


def test_threads_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda _: set(range(6)))
    for given, expected in {"": 6, "2": 2, "99": 6, "0": 6, "many": 6}.items():
        monkeypatch.setenv(hardware.THREADS, given)
        assert threads() == expected


def test_the_line_says_what_computes_and_what_the_model_is(tmp_path):
    expected = "device: CPU; engine: {}; threads: " + f"{threads()}; precision: float32; model: "
    assert str(make_job("starter", engine="onnx")).startswith(expected.format("onnx") + "starter; trained on")
    run = tmp_path / "run"
    run.mkdir()
    model = write_threshold_model(run / "best.keras")
    unknown = "best.keras of run; trained on patients of unknown origin"
    assert str(make_job(model)) == expected.format("keras") + unknown
    assert str(make_job(model, [str(model)])) == expected.format("keras") + unknown + "; averaged with 1 more"


def test_instruction_sets_are_those_that_linux_names(monkeypatch, tmp_path):
    monkeypatch.setattr(hardware, "Path", lambda name: tmp_path / name.removeprefix("/"))
    assert instructions.__wrapped__() == frozenset()  # as on other systems
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("model name\t: X avx512f\nflags\t\t: fpu avx2\n\nflags\t\t: fpu avx2\n")
    assert instructions.__wrapped__() == {"fpu", "avx2"}
