"""A volume in axial order, and an image as its file stores it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.geometry.source_grid import SourceGrid


@dataclass(frozen=True)
class Volume:
    """Voxels in axial order and the grid of their file.

    z ascends to the patient's superior, y to posterior, x to left (the nearest axes if the scan is oblique). So
    `voxels[k]` is an axial slice as radiologists view it: face up, patient's right on the left.
    """

    voxels: np.ndarray  # [z, y, x]
    spacing_mm: tuple[float, float, float]  # (z, y, x)
    source: SourceGrid  # of the file, in its own axis order
    path: Path
    notes: tuple[str, ...] = ()  # one line per decision of the reader
    dicom: object = field(default=None, repr=False, compare=False)  # the `DicomSeries` of a DICOM folder


@dataclass(frozen=True)
class StoredImage:
    """The voxels of a file as they are stored, rescaled to its units: `values` [k, j, i] in the file's axis order."""

    values: np.ndarray
    grid: SourceGrid
    path: Path
    notes: tuple[str, ...] = ()
