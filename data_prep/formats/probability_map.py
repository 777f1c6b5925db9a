"""A probability as a NIfTI file: whole percents with a scale factor of 0.01 in the header, written plane by plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep.errors import InputError
from data_prep.formats.image_writer import write_image
from data_prep.geometry.source_grid import SourceGrid

ENDING = ".nii.gz"
_LEVEL = 1  # of zlib's 0 to 9: percents are mostly 0


def write_percent(percent_zyx: np.ndarray, like: SourceGrid, path: str | Path) -> None:
    """Write whole percents uint8 [z, y, x] (axial order) as probabilities from 0 to 1 to a `.nii.gz` file.

    NIfTI has no half precision, and single precision takes four times the space or more. So the file holds percents
    with `scl_slope` 0.01, which readers turn into probabilities. It is on the grid `like` and appears whole or not at
    all; no second copy of the volume is made. ValueError for another shape than the source's.
    """
    path = Path(path)
    if not path.name.endswith(ENDING):
        raise InputError(f"probabilities are written only as {ENDING}; choose such a name", path, "wrong_name")
    write_image(like.to_stored(percent_zyx.astype(np.uint8, copy=False)), like, path, level=_LEVEL, slope=0.01)
