"""Labels as a DICOM Segmentation object that refers to the CT slices it was made from, and such objects read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep.volume import Volume


def write_dicom_seg(
    labels_zyx: np.ndarray,
    volume: Volume,
    folder: str | Path,
    path: str | Path,
    series: str | int | None = None,
    *,
    algorithm_name: str,
    algorithm_version: str,
) -> None:
    """Write labels uint8 [z, y, x] (axial order) of a CT series in `folder` as DICOM SEG; whole or not at all.

    volume: as `read_volume(folder, series)` gave it.
    """
    raise NotImplementedError


def read_dicom_seg(path: str | Path, folder: str | Path | None = None) -> Volume:
    """Read a DICOM SEG as `read_labels` reads a label file; folder: the CT series, for its grid."""
    raise NotImplementedError
