"""Scores of single cases, one file each, that a job array or a cluster keeps until all cases are scored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.checksums import checked_sha256
from data_prep.files.json_files import read_json, write_json
from data_prep.version import code_version
from kidney_seg.evaluate.score_files import SCORES_SCHEMA
from kidney_seg.metrics.missing import nan_to_none, none_to_nan


def made_of(case: str, truth: Path, predicted: Path | None, rule: list[Any] | None) -> str:
    """Return a hash of all that a case's scores depend on: version, content of the files, and the rule's settings."""
    try:
        of_prediction = predicted and checked_sha256(predicted)
    except InputError:
        of_prediction = "unreadable"  # counts as empty, as a damaged one does
    content = json.dumps([SCORES_SCHEMA, code_version(), case, checked_sha256(truth), of_prediction, rule])
    return hashlib.sha256(content.encode()).hexdigest()


def write_kept(
    path: Path, made_of: str, row: dict[str, Any], unreadable: str | None, notes: Sequence[str] = ()
) -> None:
    """Write a case's row, why its prediction is unreadable, if it is, and the notes of the readers."""
    write_json(path, {"made_of": made_of, "row": nan_to_none(row), "reason": unreadable, "notes": list(notes)})


def read_kept(path: Path, made_of: str) -> tuple[dict[str, Any], str | None, tuple[str, ...]] | None:
    """Return row, reason and notes that a file keeps; None without it, or if it is damaged or made of other files."""
    try:
        content = read_json(path, "file of a case's scores")
    except InputError:
        return None
    if not isinstance(content, dict) or content.get("made_of") != made_of or not {"row", "reason"} <= set(content):
        return None
    return none_to_nan(content["row"]), content["reason"], tuple(content.get("notes", ()))
