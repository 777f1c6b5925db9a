"""Logs of curves and pictures of a training: TensorBoard, MLflow or Weights & Biases, by their own libraries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from data_prep.errors import require
from kidney_seg.config.checks import check_choice
from kidney_seg.config.run_config import Config

LOGGERS = ("tensorboard", "mlflow", "wandb")
PROJECT = "kidney_seg"


class Logger(Protocol):
    """The log of one attempt. `step` counts the steps of the whole run."""

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Log numbers by name, except None."""

    def picture(self, step: int, name: str, png: Path) -> None:
        """Log a PNG file."""

    def close(self) -> None:
        """End the log."""


def check_logger(kind: str) -> None:
    """Raise InputError for an unknown logger, or one whose library is not installed."""
    check_choice("--logger", kind, LOGGERS)
    if kind != "tensorboard":
        require(kind, kind)
    if kind == "mlflow" and not os.environ.get("MLFLOW_TRACKING_URI"):
        for name in ("sqlalchemy", "alembic"):  # which MLflow needs for its database in the run folder
            require(name, kind)


def open_logger(kind: str, run: Path, folder: Path, config: Config) -> Logger:
    """Return the log of an attempt. run: the run folder; folder: the attempt's own, inside it, by `layout`.

    MLflow and Weights & Biases write into the run folder and send nothing, unless their own environment variables
    (MLFLOW_TRACKING_URI, WANDB_MODE) say otherwise.
    """
    if kind == "tensorboard":
        from kidney_seg.training.tensorboard import Board

        return Board(run / folder)
    settings = {name: value for values in config.to_dict().values() for name, value in values.items()}
    return (_MLflow if kind == "mlflow" else _WandB)(run.resolve(), folder.name, settings)


class _MLflow:
    def __init__(self, run: Path, name: str, settings: Mapping[str, Any]):
        mlflow = require("mlflow", "mlflow")
        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run / 'mlflow.db'}"
        self._client = mlflow.MlflowClient(tracking_uri=place)
        found = self._client.get_experiment_by_name(str(run))
        local = {} if os.environ.get("MLFLOW_TRACKING_URI") else {"artifact_location": (run / "mlartifacts").as_uri()}
        experiment = found.experiment_id if found else self._client.create_experiment(str(run), **local)
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        for key, value in settings.items():
            self._client.log_param(self._run, key, value)

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if value is not None:
                self._client.log_metric(self._run, name, float(value), step=step)

    def picture(self, step: int, name: str, png: Path) -> None:
        self._client.log_artifact(self._run, str(png))

    def close(self) -> None:
        self._client.set_terminated(self._run)


class _WandB:
    def __init__(self, run: Path, name: str, settings: Mapping[str, Any]):
        self._wandb = require("wandb", "wandb")
        mode = os.environ.get("WANDB_MODE") or "offline"
        quiet = self._wandb.Settings(silent=True, console="off")
        about = {"project": PROJECT, "group": run.name, "name": name, "config": dict(settings), "reinit": "create_new"}
        self._run = self._wandb.init(dir=str(run), mode=mode, settings=quiet, **about)

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        self._run.log({name: value for name, value in values.items() if value is not None}, step=step)

    def picture(self, step: int, name: str, png: Path) -> None:
        self._run.log({name: self._wandb.Image(str(png))}, step=step)

    def close(self) -> None:
        self._run.finish()
