"""Where scored patients, and the models that predicted them, come from: read from what lies beside the labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_prep.datasets.cohorts import kind_of_case
from data_prep.errors import InputError
from data_prep.files.json_files import read_json
from data_prep.files.typed import typed
from data_prep.formats.image_source import stem_of
from data_prep.origin import KITS, MIXED, OTHER, SIMULATED, UNSTATED, Origin, joined


def origins_of(truths: Mapping[str, Path], predictions: Iterable[Path]) -> dict[str, Any]:
    """Return the `cohort` of the true labels and the `origin` of the predicting models, as `scores.json` has them."""
    cohort = joined(kind_of_case(name, None, path) for name, path in truths.items())
    found = [one for path in predictions for one in _of_record(path)]
    return {"cohort": asdict(cohort), "origin": asdict(_common(found))}


def _of_record(labels: Path) -> list[Origin]:
    record = labels.with_name(f"{stem_of(labels)}.json")
    try:
        content = read_json(record, "record") if record.is_file() else {}
        if not isinstance(content, dict):
            return []
        if about := content.get("model"):
            return [Origin(OTHER, typed(str, typed(dict[str, Any], about)["data"]).removeprefix("trained on "))]
        return typed(list[Origin], content.get("origin", []))
    except (InputError, KeyError, ValueError):
        return []


def _common(origins: list[Origin]) -> Origin:
    """Return the origin that all share; of several, one that names them all."""
    different = list(dict.fromkeys(origins))
    if len(different) < 2:
        return different[0] if different else UNSTATED
    kinds = {one.kind for one in different}
    if SIMULATED in kinds or MIXED in kinds:
        return Origin(SIMULATED if kinds == {SIMULATED} else MIXED)
    if kinds <= set(KITS):
        return joined(kinds)
    return Origin(OTHER, "several models: " + "; ".join(map(str, different)))
