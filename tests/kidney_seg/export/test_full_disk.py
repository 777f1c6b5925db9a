"""Exports on a full disk: one line with exit code 2, and nothing is left of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.full_disk import full_after

from data_prep.files.atomic import write_file
from kidney_seg.config.run_config import Config
from kidney_seg.export import examples, exporters, verification, warmup
from kidney_seg.export.__main__ import main as export

FLOATS = 50_000


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an export write a graph of some variables, examples and warm-up requests, without a network."""
    tf = pytest.importorskip("tensorflow")
    from kidney_seg.export import onnx_pipeline, tensorflow_graph

    class Module(tf.Module):
        def __init__(self) -> None:
            self.weights = tf.Variable(np.random.default_rng(0).random(FLOATS, np.float32))

        @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
        def scaled(self, by: Any) -> dict[str, Any]:
            return {"scaled": self.weights * by}

    def built(*_: object) -> tuple[Any, dict[str, Any]]:
        module = Module()
        return module, {"serving_default": module.scaled}

    loaded: Any = SimpleNamespace(config=Config(), members=())
    loaded.in_single_precision = lambda: loaded
    noise = {"slices": np.random.default_rng(0).integers(-999, 999, (40, 64, 64))}
    monkeypatch.setattr(tensorflow_graph, "build_tensorflow_graph", built)
    monkeypatch.setattr(onnx_pipeline, "build_onnx", lambda *_: bytes(4 * FLOATS))
    monkeypatch.setattr("kidney_seg.export.__main__.find_ensemble", lambda *_: [loaded])
    monkeypatch.setattr("kidney_seg.export.__main__.describe_model", lambda _: "of no training")
    monkeypatch.setattr(exporters, "_open", lambda *_: (loaded, {"model_sha256": "0"}, None))
    monkeypatch.setattr(exporters, "write_card", lambda *_: "a card")
    monkeypatch.setattr(examples, "expected_examples", lambda _: {"patient": noise})
    for name in ("check_saved_model", "check_onnx"):
        monkeypatch.setattr(verification, name, lambda *_: [])


def line_of(words: list[str], capsys: pytest.CaptureFixture[str], size: int) -> str:
    with full_after(size):
        assert export(words) == 2
    first, error = capsys.readouterr().err.splitlines()
    assert first.startswith("device: ") and error.startswith("error: ")
    return error


@pytest.mark.parametrize("size", [200, 3_000, 100_000, 4 * FLOATS + 20_000])
def test_a_saved_model(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int) -> None:
    write_file(tmp_path / "served" / "1" / "model", b"the version before")
    error = line_of(["run", "--out", str(tmp_path / "served")], capsys, size)
    assert "free some space" in error and str(tmp_path / "served") in error
    assert [path.name for path in tmp_path.rglob("*")] == ["served", "1", "model"]


@pytest.mark.parametrize("size", [200, 100_000])
def test_an_onnx_file(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int) -> None:
    error = line_of(["run", "--format", "onnx", "--out", str(tmp_path / "a.onnx")], capsys, size)
    assert "a.onnx: File too large; free some space" in error and not list(tmp_path.iterdir())


def test_warm_up_requests(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_serving")
    with full_after(100), pytest.raises((tf.errors.OpError, OSError)):
        warmup.write(tmp_path / "requests", "kidney_seg")


def test_with_room_enough(small: None, tmp_path: Path) -> None:
    assert export(["run", "--out", str(tmp_path / "served")]) == 0
    assert (tmp_path / "served" / "1" / "saved_model.pb").is_file()
    assert export(["run", "--format", "onnx", "--out", str(tmp_path / "a.onnx")]) == 0
