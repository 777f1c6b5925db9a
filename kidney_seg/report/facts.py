"""The facts at the head of a report: of a run and of an evaluation, with the license of the model where it has one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.json_files import read_json
from kidney_seg.config.run_config import Config
from kidney_seg.model.model_file import find_source
from kidney_seg.run import layout
from kidney_seg.run.recipe import describe_first_weights


def facts_of_run(
    folder: Path, config: Config, manifest: Mapping[str, Any], scores: Mapping[str, Any]
) -> dict[str, str | None]:
    """Return name and text of each fact of a finished run; None for what it has not."""
    versions, size = manifest.get("versions", {}), config.model.size
    given = describe_first_weights(manifest) if manifest.get("pretrained_sha256") else None
    return {
        "Training": f"{config.rounds.mode}, seed {manifest.get('seed')}",
        "Best round": f"{scores['best']['round']}",
        "Network": f"{size} x {size} pixels",
        "First weights": given,
        "License of the first weights": _license(folder / layout.PRETRAINED) if given else None,
        "License of the model": _license(folder / layout.BEST_MODEL),
        "Versions": ", ".join(f"{name} {versions[name]}" for name in ("kidney_seg", "tensorflow") if name in versions),
    }


def facts_of_evaluation(scores: Mapping[str, Any], predictions: Path, cases: Iterable[str]) -> dict[str, str | None]:
    """Return the facts of an evaluation; licenses are those in the records beside the label files `predictions`."""
    models = [_model(predictions / f"{case}.json") for case in cases]
    return {
        "Protocol": scores.get("protocol"),
        "Model": "; ".join(sorted({model["name"] for model in models if model})) or None,
        "License of the model": "; ".join(sorted({model["license"] for model in models if model})) or None,
    }


def _license(model: Path) -> str | None:
    try:
        about = find_source(model).about
    except InputError:  # it is missing or damaged, which is no fault of the scores
        return None
    return about.license if about else None


def _model(record: Path) -> dict[str, str] | None:
    try:
        model = read_json(record, "record")["model"]
        return {name: str(model[name]) for name in ("name", "license")}
    except (InputError, KeyError, TypeError):  # without a record, or of a model that says nothing of itself
        return None
