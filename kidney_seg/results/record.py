"""The JSON records of a folder of predictions: how each scan's labels were made, or why there are none."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.json_files import read_json, write_json
from data_prep.files.typed import typed
from data_prep.version import code_version

PROGRAM = "kidney_seg"
FAILED = "failed"  # folder of the records of scans that could not be predicted
PICTURES = "pictures"


def signature() -> str:
    """Return the program and its version, as records hold them."""
    return f"{PROGRAM} {code_version()}"


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record of a prediction; None for a file that is none of this program."""
    try:
        record = read_json(path, "record")
        ours = record["program"].split()[0] == PROGRAM
        typed(dict[str, str], record["files"])
        typed(dict[str, Any], record.get("made_by", {}))
        return record if ours else None
    except (InputError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def read_failure(path: Path) -> str | None:
    """Return why a scan could not be predicted; None for a file that is no record of this."""
    try:
        content = read_json(path, "record")
        return typed(str, content["error"]) if content["program"].split()[0] == PROGRAM else None
    except (InputError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def failure_path(folder: Path, name: str) -> Path:
    """Return the record of a scan that could not be predicted."""
    return folder / FAILED / f"{name}.json"


def write_failure(folder: Path, name: str, error: InputError) -> None:
    """Record why a scan could not be predicted, without paths, which may name a patient."""
    write_json(failure_path(folder, name), {"program": signature(), "error": error.detail, "code": error.code})


def remove_failure(folder: Path, name: str) -> None:
    """Remove the record of a scan that is predicted now."""
    path = failure_path(folder, name)
    if read_failure(path) is not None:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # others are left
            path.parent.rmdir()
