"""Folders of predictions, written as a batch leaves them, without a network."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.files.json_files import write_json
from kidney_seg.postprocess.review import describe
from kidney_seg.results.picture import draw, write_picture
from kidney_seg.results.record import PICTURES, signature, write_failure

SPACING_MM = (3.0, 1.5, 1.5)
ABOUT = {"name": "small", "data": "trained on nothing", "license": "CC0"}


def made_in(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder of predictions by name, without the seconds that they took."""
    files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: re.sub(rb'"seconds": [0-9.]+|,[0-9.]+,$', b"", data, flags=re.M) for name, data in files.items()}


def labels_of(kidneys: int = 2, tumor: bool = True) -> np.ndarray:
    """Return labels [z, y, x] of boxes: one or two kidneys, a tumor in the one on the patient's right."""
    labels = np.zeros((24, 120, 160), np.uint8)
    for left in (20, 110)[:kidneys]:
        labels[4:20, 40:80, left : left + 30] = 1
    if tumor:
        labels[8:14, 50:70, 25:40] = 2
    return labels


def add_scan(folder: Path, name: str, labels: np.ndarray, seed: int = 0, **more: object) -> dict:
    """Write labels (any bytes), record and picture of one scan; return the record."""
    rng = np.random.default_rng(seed)
    hu = np.where(labels > 0, 120, 20).astype(np.int16) + rng.normal(0, 25, labels.shape).astype(np.int16)
    hu[:, :10] = -1000
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.nii.gz"
    path.write_bytes(labels.tobytes()[:1000] + name.encode())
    record = {
        "program": signature(),
        "labels": path.name,
        "image": {"sha256": name, "series": None},
        "made_by": {"models": ["ab" * 32]},
        "engine": "keras",
        "model": ABOUT,
        **describe(labels, labels, None, SPACING_MM, hu, 0.95 if (labels == 2).any() else None),
        "notes": [],
        "seconds": 1.5,
        **more,
        "files": {path.name: sha256_of(path)},
    }
    write_json(folder / f"{name}.json", record)
    write_picture(folder / PICTURES / f"{name}.jpg", draw(hu, labels, SPACING_MM, record["files"][path.name]))
    return record


def add_failure(folder: Path, name: str, why: str) -> None:
    """Record a scan that could not be predicted."""
    write_failure(folder, name, InputError(why, "/somewhere/DOE_JANE"))
