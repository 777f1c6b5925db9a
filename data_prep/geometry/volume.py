"""A volume in axial order, and an image as its file stores it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.geometry.source_grid import SourceGrid


@dataclass(frozen=True)
class Volume:
    """Voxels in axial order and what is needed to write on their file's own grid.

    voxels: [z, y, x]; z ascends to the patient's superior, y to posterior, x to left (the nearest axes where
    the scan is oblique). So `voxels[k]` is an axial slice as radiologists view it: face up, patient's right
    on the left.
    spacing_mm: (z, y, x) of that array.
    """

    voxels: np.ndarray
    spacing_mm: tuple[float, float, float]
    source: SourceGrid
    path: Path
    notes: tuple[str, ...] = ()  # what reading had to decide, one line each


@dataclass(frozen=True)
class StoredImage:
    """A file's voxels as they are stored, rescaled to its own units: `values` [k, j, i] in the file's axis order."""

    values: np.ndarray
    grid: SourceGrid
    path: Path
    notes: tuple[str, ...] = ()
