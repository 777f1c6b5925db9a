"""Where a model's ONNX file is: beside the `.keras` file, with the checksums of the weights and of its own bytes."""

from __future__ import annotations

import glob
import hashlib
from pathlib import Path

from kidney_seg.model.model_file import ModelSource

_DIGITS = 16  # of the checksums in names


def onnx_files(source: ModelSource) -> list[Path]:
    """Return the files beside the model that are named as ONNX files of its weights, in order of names."""
    found = source.path.parent.glob(f"{glob.escape(_start(source))}*.onnx")
    return sorted(path for path in found if path.is_file())


def onnx_name(source: ModelSource, content: bytes) -> str:
    """Return the name of the model's ONNX file with this content."""
    return f"{_start(source)}{hashlib.sha256(content).hexdigest()[:_DIGITS]}.onnx"


def _start(source: ModelSource) -> str:
    return f"{source.path.stem}-{source.sha256[:_DIGITS]}-"
