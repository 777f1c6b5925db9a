"""What runs the network: Keras, or ONNX Runtime, an extra that needs neither TensorFlow nor its seconds of start."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import InputError
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.model.model_file import ModelSource, check_alike
from kidney_seg.predict.ensemble import combined
from kidney_seg.predict.predictor import Forward, Predictor, keras_forward

ENGINES = ("keras", "onnx", "auto")
_NVIDIA = Path("/proc/driver/nvidia/version")  # there where the driver of such a GPU is loaded


def choose_engine(name: str) -> str:
    """Return `keras` or `onnx`; `auto` is `onnx` where it is installed and there is no NVIDIA GPU for TensorFlow.

    InputError for `onnx` where it is not installed.
    """
    missing = [package for package in ("onnx", "onnxruntime") if importlib.util.find_spec(package) is None]
    if name == "auto":
        return "keras" if missing or _NVIDIA.exists() else "onnx"
    if name == "onnx" and missing:
        raise InputError(
            f"--engine onnx: {' and '.join(missing)} not installed; run: pip install 'kidney_seg[onnx]', or "
            "use --engine keras"
        )
    return name


def open_predictor(sources: Sequence[ModelSource], settings: PredictionConfig, engine: str = "keras") -> Predictor:
    """Return a predictor that averages the models, with odds and flips of the settings; engine: `keras` or `onnx`.

    InputError where the models do not fit together (`check_alike`).
    """
    check_alike(sources)
    model = sources[0].config.model
    networks = [(_open(source, settings, engine), source.config.prediction.odds) for source in sources]
    forward = combined(networks, settings, model.activation, model.size)
    return Predictor(forward, model.size, model.input_slices, model.classes, settings.slices_per_batch)


def _open(source: ModelSource, settings: PredictionConfig, engine: str) -> Forward:
    if engine == "onnx":
        from kidney_seg.predict.onnx.runtime import onnx_forward

        return onnx_forward(source)
    from kidney_seg.tensorflow_log import quiet_tensorflow

    quiet_tensorflow()
    from kidney_seg.predict.batch_norm_folding import folded

    return keras_forward(folded(source.load()), settings.slices_per_batch)
