"""Loggers by one switch: TensorBoard, MLflow, Weights & Biases by their own calls; none that is not installed."""

from __future__ import annotations

import importlib.util
import json
import os
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from data_prep.errors import InputError
from kidney_seg.config.run_config import Config
from kidney_seg.run import layout
from kidney_seg.training.loggers import check_logger, open_logger

FOLDER = layout.tensorboard(1, 0)


class Calls(list):
    """Records calls by name; `returns`: what they answer."""

    def __init__(self, **returns: object):
        super().__init__()
        self.returns = returns

    def __getattr__(self, name: str):
        def call(*given: object, **named: object) -> object:
            self.append((name, given, named))
            return self.returns.get(name)

        return call


def logged(kind: str, run: Path) -> None:
    png = run / "worst.png"
    Image.new("RGB", (4, 4)).save(png)
    log = open_logger(kind, run, FOLDER, Config())
    log.scalars(10, {"loss": 0.5, "Dice tumor": None})
    log.picture(10, "worst cases", png)
    log.close()


@pytest.mark.parametrize("name", ["run", os.fsdecode(b"M\xfcller")])
def test_tensorboard_writes_into_the_attempt_s_folder(tmp_path: Path, name: str) -> None:
    run = tmp_path / name
    run.mkdir()
    logged("tensorboard", run)
    assert list((run / FOLDER).glob("events*"))


def test_mlflow_by_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = SimpleNamespace(info=SimpleNamespace(run_id="r"))
    client = Calls(create_experiment="7", create_run=info)
    places = []
    made = SimpleNamespace(MlflowClient=lambda tracking_uri: places.append(tracking_uri) or client)
    monkeypatch.setitem(sys.modules, "mlflow", made)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logged("mlflow", tmp_path)
    assert places == [f"sqlite:///{tmp_path / 'mlflow.db'}"]
    assert ("create_run", ("7",), {"run_name": "round01-attempt1"}) in client
    assert ("log_param", ("r", "alpha", 0.7), {}) in client
    assert [call for call in client if call[0] == "log_metric"] == [("log_metric", ("r", "loss", 0.5), {"step": 10})]
    assert client[-2:] == [("log_artifact", ("r", str(tmp_path / "worst.png")), {}), ("set_terminated", ("r",), {})]


def test_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Calls()
    made = Calls(init=run, Image="picture", Settings="quiet")
    monkeypatch.setitem(sys.modules, "wandb", made)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    logged("wandb", tmp_path)
    started = next(named for name, _, named in made if name == "init")
    assert (started["mode"], started["dir"], started["name"]) == ("offline", str(tmp_path), "round01-attempt1")
    assert started["config"]["alpha"] == 0.7
    assert run == [
        ("log", ({"loss": 0.5},), {"step": 10}),
        ("log", ({"worst cases": "picture"},), {"step": 10}),
        ("finish", (), {}),
    ]


def test_mlflow_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed (extra `mlflow`)")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    check_logger("mlflow")
    logged("mlflow", tmp_path)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(str(tmp_path))
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params["alpha"]) == ("round01-attempt1", "FINISHED", "0.7")
    assert [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "loss")] == [(10, 0.5)]
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["worst.png"]
    assert set(run.data.metrics) == {"loss"}


def history_of(path: Path) -> list[dict[str, object]]:
    """Return what an offline run of Weights & Biases holds, by step: protocol buffers in a log of LevelDB's format."""
    from wandb.proto import wandb_internal_pb2

    data, place, part, rows = path.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        if (1 << 15) - place % (1 << 15) < 7:  # what is left of a block holds no header
            place += (1 << 15) - place % (1 << 15)
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record.FromString(part)
            part = b""
            if record.history.item:
                items = record.history.item
                rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows


def test_weights_and_biases_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed (extra `wandb`)")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    check_logger("wandb")
    logged("wandb", tmp_path)
    (path,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    rows = history_of(path)
    found = rows[0] | {name: value for row in rows[1:] for name, value in row.items()}
    assert (found["loss"], found["_step"]) == (0.5, 10) and "Dice tumor" not in found
    assert any(name.startswith("worst cases") for name in found)


def test_mlflow_without_its_database_is_named_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match=r"sqlalchemy is not installed; run: pip install 'kidney_seg\[mlflow\]'"):
        check_logger("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")  # which needs none
    check_logger("mlflow")


@pytest.mark.parametrize("kind", ["mlflow", "wandb"])
def test_what_is_not_installed_is_named_before_training(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec(kind) is not None:
        monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(InputError, match=rf"{kind} is not installed; run: pip install 'kidney_seg\[{kind}\]'"):
        check_logger(kind)
    with pytest.raises(InputError, match="did you mean 'mlflow'"):
        check_logger("mlflows")
