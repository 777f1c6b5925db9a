"""Run the network with Keras, or with ONNX Runtime, which needs neither TensorFlow nor its seconds of start-up."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.errors import InputError
from kidney_seg.config.prediction import PAPER, PredictionConfig
from kidney_seg.hardware import CPU, start_line, system_has_gpu, use_device
from kidney_seg.model.model_file import ModelSource, check_alike, find_ensemble
from kidney_seg.model.trained_on import describe_model, origin_record
from kidney_seg.predict.averaging import combined
from kidney_seg.predict.beyond_field import beyond_field
from kidney_seg.predict.onnx.files import onnx_files
from kidney_seg.predict.predictor import Forward, Predictor, Watch, keras_forward, predict_slabs

if TYPE_CHECKING:
    import keras

    from data_prep.geometry.network_grid import GridSettings
    from data_prep.geometry.volume import Volume

ENGINES = ("auto", "keras", "onnx")
_used_by: int | None = None  # the process that used a network first


def choose_engine(name: str, device: str | None = None, sources: Sequence[ModelSource] = ()) -> str:
    """Return `keras` or `onnx`, which give the same labels up to near ties.

    `auto` is `onnx` if it is installed, the ONNX files of all `sources` exist, and there is no NVIDIA GPU, or none is
    wanted. InputError for `onnx` if it is not installed, or on a GPU.
    """
    on_gpu = device is not None and device != CPU
    missing = [package for package in ("onnx", "onnxruntime") if importlib.util.find_spec(package) is None]
    if name == "auto":
        with_gpu = on_gpu or (system_has_gpu() and device != CPU)
        return "keras" if missing or with_gpu or not all(map(onnx_files, sources)) else "onnx"
    if name == "onnx" and on_gpu:
        raise InputError(f"--engine onnx: computes on the processor, found --device {device}; use --engine keras")
    if name == "onnx" and missing:
        raise InputError(
            f"--engine onnx: {' and '.join(missing)} not installed; run: pip install 'kidney_seg[onnx]', or "
            "use --engine keras",
            code="missing_package",
        )
    return name


@dataclass(frozen=True)
class Job:
    """How scans are predicted: by the mean of `sources`, with these settings.

    engine: `keras` or `onnx`; for the workers of a scheduler also `auto`, so that each chooses its own. device: `cpu`,
    `gpu` or `gpu:N`; None leaves the choice to the engine.
    """

    sources: tuple[ModelSource, ...]
    settings: PredictionConfig
    engine: str = "keras"
    device: str | None = None

    @property
    def predictor(self) -> Predictor:
        """The network; loaded when the first scan needs it. InputError as for `check_not_forked`."""
        check_not_forked()
        if self.engine != "onnx":
            use_device(self.device)
        return self._predictor

    @cached_property
    def _predictor(self) -> Predictor:
        return open_predictor(self.sources, self.settings, self.engine)

    def segment(
        self, volume: Volume, with_percent: bool = False, watch: Watch = iter
    ) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
        """Return labels uint8 [z, y, x], the tumor's percents if wanted, and their description (`review.describe`)."""
        found = predict_slabs(self.predictor, volume, self.sources[0].grid, with_percent=with_percent, watch=watch)
        labels, description = finish(found.labels, volume, self.sources[0].grid, self.settings, found.tumor_confidence)
        return labels, found.tumor_percent, description

    @property
    def origin(self) -> dict[str, Any]:
        """What a prediction's record says of the models' origin."""
        return origin_record(self.sources)

    def __str__(self) -> str:
        """Return the line that a long command begins with."""
        return start_line(
            engine=self.engine,
            precision="float32" if self.engine == "onnx" else self.sources[0].config.model.precision,
            model=describe_model(self.sources),
            device=self.device,
        )

    @property
    def made_by(self) -> dict[str, Any]:
        """What the labels depend on besides the image. The engine is not part of it: engines agree."""
        return made_by([source.sha256 for source in self.sources], self.sources[0].grid, self.settings)


def made_by(models: Sequence[str], grid: GridSettings, settings: PredictionConfig) -> dict[str, Any]:
    """Return what labels depend on besides the image, as records hold it; models: checksums of their weights."""
    lists = {name: list(getattr(settings, name)) for name in ("odds", "zooms")}  # as JSON has them
    values = {**asdict(settings), **lists}
    del values["slices_per_batch"]
    if not values["smooth_z_mm"]:  # as in records from before this setting, `views_from` and `rule`
        del values["smooth_z_mm"]
    if not values["views_from"]:
        del values["views_from"]
    if values["rule"] == PAPER:
        del values["rule"], values["tumor_mm"]
    return {"models": list(models), "grid": asdict(grid), "settings": values}


def finish(
    found: np.ndarray,
    volume: Volume,
    grid: GridSettings,
    settings: PredictionConfig,
    tumor_confidence: float | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return a network's labels of a volume, post-processed if the settings say so, and their description."""
    from kidney_seg.postprocess.distant_objects import apply_rule
    from kidney_seg.postprocess.review import describe

    spacing_mm, limits = volume.spacing_mm, asdict(settings.rule_settings)
    labels, objects = found, None
    if settings.postprocess:
        labels, objects = apply_rule(found, spacing_mm, **limits)
    description = describe(found, labels, objects, spacing_mm, volume.voxels, tumor_confidence, **limits)
    if flag := beyond_field(volume, grid):
        description["flags"].append(flag)
    return labels, description


def make_job(
    model: str | Path,
    ensemble: Sequence[str] = (),
    engine: str = "auto",
    settings: Mapping[str, Any] | None = None,
    *,
    on_workers: bool = False,
    device: str | None = None,
) -> Job:
    """Return the job of a model or ensemble; `settings`, `ensemble` and `engine` are as for `predict_scan`.

    on_workers: each worker chooses its engine, since this host may lack what the workers have.
    """
    sources = tuple(find_ensemble(model, ensemble))
    engine = engine if on_workers else choose_engine(engine, device, sources)
    return Job(sources, replace(sources[0].config.prediction, **settings or {}), engine, device)


def open_predictor(sources: Sequence[ModelSource], settings: PredictionConfig, engine: str = "keras") -> Predictor:
    """Return a predictor that averages the models, with class odds, flips, zooms and smoothing of the settings.

    Args:
        engine: `keras` or `onnx`.

    Raises:
        InputError: the models cannot be averaged (`check_alike`), or as for `check_not_forked`.
    """
    check_not_forked()
    check_alike(sources)
    model = sources[0].config.model
    networks = [(_open(source, settings, engine), source.config.prediction.odds) for source in sources]
    forward = combined(networks, settings, model.activation, model.size)
    size, seen = model.size, model.input_slices
    return Predictor(forward, size, seen, model.classes, settings.slices_per_batch, settings.smooth_z_mm)


def check_not_forked() -> None:
    """Raise InputError in a process that was forked from one that had used a network.

    The threads of TensorFlow and ONNX Runtime do not survive a fork: the process would wait for them forever.
    """
    global _used_by
    if _used_by not in (None, os.getpid()):
        remedy = 'start processes with multiprocessing.get_context("spawn")'
        raise InputError(f"this process was forked from one that had used a network, and cannot use it; {remedy}")
    _used_by = os.getpid()


def _open(source: ModelSource, settings: PredictionConfig, engine: str) -> Forward:
    if engine == "onnx":
        from kidney_seg.predict.onnx.runtime import onnx_forward

        return onnx_forward(source)
    from kidney_seg.tensorflow_log import quiet_tensorflow

    quiet_tensorflow()
    return keras_forward(fold_batch_norms(source.load()), settings.slices_per_batch)


def fold_batch_norms(model: keras.Model) -> keras.Model:
    """Return a copy for inference whose batch normalizations are folded into the convolutions before them.

    In inference both are one factor and one offset per channel, so the probabilities are equal up to rounding, and on a
    processor three passes over every feature map are saved. A normalization that does not follow a linear convolution
    with no other consumer stays. The copy has its own weights.
    """
    import keras

    norms = {layer.input._keras_history.operation.name: layer for layer in model.layers if _can_be_folded(layer)}
    folded = {norm.name for norm in norms.values()}

    def call(layer: keras.Layer, *inputs: Any, **options: Any) -> Any:
        return inputs[0] if layer.name in folded else layer(*inputs, **options)

    copy = keras.models.clone_model(
        model, clone_function=lambda layer: type(layer).from_config(layer.get_config()), call_function=call
    )
    for layer in model.layers:
        if layer.weights and layer.name not in folded:
            values = layer.get_weights()
            values = _fold(values, norms[layer.name]) if layer.name in norms else values
            copy.get_layer(layer.name).set_weights(values)
    return copy


def _can_be_folded(layer: keras.Layer) -> bool:
    import keras

    if not (isinstance(layer, keras.layers.BatchNormalization) and layer.scale and layer.center):
        return False
    before = layer.input._keras_history.operation
    linear = isinstance(before, keras.layers.Conv2D) and before.activation is keras.activations.linear
    return linear and before.use_bias and len(before._outbound_nodes) == 1


def _fold(convolution: list[np.ndarray], norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    kernel, bias = (value.astype(np.float64) for value in convolution)
    gamma, beta, mean, variance = (value.astype(np.float64) for value in norm.get_weights())
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return [kernel * factor, (bias - mean) * factor + beta]
