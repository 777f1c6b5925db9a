"""Checkpoints of a training in progress: written whole, checked when read, the last two kept."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import raise_if_out_of_memory
from data_prep.files.atomic import write_file
from data_prep.files.json_files import parse_json

KEPT = 2


class Checkpoints:
    """The checkpoints in one folder: arrays, and the place of the training as plain values.

    A file's name ends in the first 16 hex digits of the SHA-256 of its bytes, which reveals any damage.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def save(self, place: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Path:
        """Write a checkpoint and remove all but the last two; `place`: JSON values, floats finite."""
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, place=np.array(json.dumps(place, allow_nan=False)), **arrays)
        content = stream.getvalue()
        files = self._files()
        number = 1 + (int(files[-1].name.split("-")[0]) if files else 0)
        path = self.folder / f"{number:06d}-{_digest(content)}.npz"
        write_file(path, content)
        for old in files[: len(files) + 1 - KEPT]:
            old.unlink()
        return path

    def newest(self, warn: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Return the newest undamaged checkpoint, or None; `warn` gets one line per damaged one."""
        for path in reversed(self._files()):
            try:
                content = path.read_bytes()
                if path.stem.split("-")[1] != _digest(content):
                    raise ValueError("its checksum is wrong")
                with np.load(io.BytesIO(content)) as file:
                    arrays = {name: file[name] for name in file.files}
                return parse_json(str(arrays.pop("place"))), arrays
            except Exception as error:  # zipfile and its decompressors have no common base
                raise_if_out_of_memory(error, path)
                warn(f"{path}: this checkpoint is damaged ({error}); the one before it is used, if it exists")
        return None

    def clear(self) -> None:
        """Remove all checkpoints."""
        for path in self._files():
            path.unlink()

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.npz") if path.name[:6].isdecimal() and path.is_file())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
