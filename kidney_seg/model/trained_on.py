"""What a model was trained on, in one line for every command that loads one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from data_prep.files.names import printable
from kidney_seg.model.model_file import ModelFile, ModelSource


def origin_line(models: Sequence[ModelSource | ModelFile]) -> str:
    """Return the one line of the models that predict together: what they were trained on, and what that means.

    It ends in the mark of a collapsed training, if a model has one. Text of a file is printable.
    """
    said = dict.fromkeys(text for model in models for text in _texts(model))
    return printable("model: " + "; ".join(said), 500)


def describe_model(models: Sequence[ModelSource]) -> str:
    """Return file and folder of a model, what it was trained on, and how many are averaged with it, in one line."""
    first = models[0]
    file = "" if first.about else f"{first.path.name} of {first.path.parent.absolute().name}; "
    others = f"; averaged with {len(models) - 1} more" * (len(models) > 1)
    return printable(file + "; ".join(dict.fromkeys(text for model in models for text in _texts(model))), 500) + others


def origin_record(models: Sequence[ModelSource | ModelFile]) -> dict[str, Any]:
    """Return what a prediction's record says of the models' origin: `trained_on`, and `model` if the file names it."""
    record: dict[str, Any] = {"trained_on": [text for model in models for text in _texts(model)]}
    record["origin"] = [asdict(model.origin) for model in models]
    return record | ({"model": asdict(models[0].about)} if models[0].about else {})


def trained_on(model: ModelSource | ModelFile) -> str:
    """Return what a model was trained on, as words for the origin of one that begins with its weights."""
    return f"{model.about.data} ({model.about.license})" if model.about else f"trained on {model.origin}"


def _texts(model: ModelSource | ModelFile) -> list[str]:
    texts = [str(model.about)] if model.about else [model.origin.trained]
    return texts + ([f"its training failed: {model.trouble}"] if model.trouble else [])
