"""The copy of the weights that a run is initialized from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of

COPY = "pretrained.keras"  # in the run folder: all that going on and repeating the run need


def checked_copy(manifest: Path, sha256: str) -> Path:
    """Return the copy beside a run's manifest. InputError if it is gone, or is not the one that the run began with."""
    copy = manifest.with_name(COPY)
    if not is_whole(copy, sha256):
        found = "has another checksum" if copy.is_file() else "is gone"
        raise InputError(
            f"{copy}: {found}; the run to be repeated began with this model ({sha256[:12]}), which belongs beside its "
            "manifest.json: bring both"
        )
    return copy


def told(manifest: Mapping[str, Any]) -> str:
    """Return in a few words what a run began with, from its manifest: for tables and reports.

    >>> told({"pretrained": "/somewhere/runs/sim", "pretrained_sha256": "0123456789abcdef"})
    'sim (SHA-256 0123456789ab)'
    >>> told({})
    'none'
    """
    if manifest.get("pretrained_sha256") is None:
        return "none"
    return f"{Path(manifest['pretrained']).name} (SHA-256 {manifest['pretrained_sha256'][:12]})"


def is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256
