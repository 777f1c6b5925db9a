"""What the viewer reads: voxels, labels and truth of a scan as plain bytes in axial order, and the label table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import InputError
from data_prep.files.json_files import write_json
from data_prep.geometry.placement import place_labels
from data_prep.geometry.volume import Volume
from data_prep.labels import STRUCTURES
from data_prep.volume import read_labels
from kidney_seg.app.findings import findings


def label_script() -> str:
    """Return the script that gives the page the label table: by label, `name` and `rgb`, 0 to 255."""
    rows = {label: {"name": row.name.lower(), "rgb": row.rgb} for label, row in STRUCTURES.items()}
    return f"export const LABELS = {json.dumps(rows)};\n"


class ViewFiles:
    """The files in a folder: `voxels.bin` (int16 HU), `labels.bin` and `truth.bin` (uint8), `findings.json`."""

    def __init__(self, folder: Path, truth: Path | None):
        self._folder, self._truth_path = folder, truth
        self._truth: np.ndarray | None = None

    def write_image(self, volume: Volume) -> dict[str, Any]:
        """Write the voxels, and the truth if there is one; return `shape` and `spacing_mm` (z, y, x).

        InputError if the truth does not fit: before the network's work, not after.
        """
        if self._truth_path is not None:
            self._truth = labels_on(self._truth_path, volume)
            _write(self._folder / "truth.bin", self._truth)
        _write(self._folder / "voxels.bin", volume.voxels.astype("<i2", copy=False))
        return {"shape": list(volume.voxels.shape), "spacing_mm": list(volume.spacing_mm)}

    def write_labels(
        self, volume: Volume, labels: np.ndarray, record: Mapping[str, Any], percent: np.ndarray | None = None
    ) -> dict[str, Any]:
        """Write labels uint8 [z, y, x] and return what was found, see `findings`."""
        found = findings(labels, record, volume.spacing_mm, percent, self._truth)
        _write(self._folder / "labels.bin", labels)
        write_json(self._folder / "findings.json", found)
        return found


def labels_on(path: Path, volume: Volume) -> np.ndarray:
    """Return labels of a file on the grid of a scan, uint8 [z, y, x]; InputError if they are of another one."""
    try:
        return place_labels(read_labels(path), volume.source, "the scan").voxels
    except InputError as error:
        raise InputError(f"the labels do not fit the scan: {error.detail}", code=error.code) from None


def _write(path: Path, voxels: np.ndarray) -> None:
    with open(path, "wb") as file:
        for plane in voxels:  # a view of another axis order is not copied as a whole
            file.write(np.ascontiguousarray(plane).tobytes())
