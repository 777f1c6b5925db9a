"""What a model is and what it was trained on, in one line for its user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import InputError
from data_prep.files.names import printable
from kidney_seg.model.model_file import ModelSource
from kidney_seg.run import layout
from kidney_seg.run.recipe import read_manifest


def describe_model(sources: Sequence[ModelSource]) -> str:
    """Return name, data and license of a model, by itself or by its run folder, and how many are averaged with it."""
    first = sources[0]
    others = f", averaged with {len(sources) - 1} more" * (len(sources) > 1)
    if first.about is not None:
        return printable(first.about) + others
    return printable(f"{first.path.name} of {first.path.parent.absolute().name}; {_trained_on(first.path)}") + others


def _trained_on(path: Path) -> str:
    try:
        manifest = read_manifest(path.parent / layout.MANIFEST, "data")
        return f"trained on {Path(manifest['data']).absolute().name}"
    except (InputError, KeyError, TypeError):
        return "its file does not say what it was trained on"
