"""A probability as a NIfTI file: whole percents with a scale factor of 0.01 in the header, written plane by plane."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from data_prep.errors import InputError
from data_prep.files.atomic import replacing
from data_prep.formats.nifti import NIFTI1
from data_prep.geometry.source_grid import SourceGrid

ENDING = ".nii.gz"
_LEVEL = 1  # of igzip's 0 to 3: percents are mostly 0


def write_percent(percent_zyx: np.ndarray, like: SourceGrid, path: str | Path) -> None:
    """Write whole percents uint8 [z, y, x] (axial order) as probabilities from 0 to 1 to a `.nii.gz` file.

    NIfTI has no half precision, and single precision takes four times the space or more. So the file holds percents
    with `scl_slope` 0.01, which readers turn into probabilities. It is on the grid `like` and appears whole or not at
    all; no second copy of the volume is made. ValueError for another shape than the source's.
    """
    from isal import igzip

    path = Path(path)
    if not path.name.endswith(ENDING):
        raise InputError(f"probabilities are written only as {ENDING}; choose such a name", path, "wrong_name")
    stored = like.to_stored(percent_zyx)
    with replacing(path) as temporary, igzip.open(temporary, "wb", compresslevel=_LEVEL) as file:
        file.write(_header(like))
        for plane in stored:
            file.write(np.ascontiguousarray(plane, np.uint8).tobytes())


def _header(like: SourceGrid) -> bytes:
    # written by SimpleITK for one plane, so that the geometry is stored as in all other files of this project
    import SimpleITK as sitk

    plane = sitk.Image([*like.size[:2], 1], sitk.sitkUInt8)
    plane.SetSpacing(like.spacing)
    plane.SetOrigin(like.origin)
    plane.SetDirection(like.direction)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plane.nii"
        sitk.WriteImage(plane, str(file))
        start = bytearray(file.read_bytes()[:352])
    header = np.frombuffer(start, NIFTI1, 1)[0]
    header["dim"][3] = like.size[2]
    header["scl"] = 0.01, 0.0
    header["cal"] = 1.0, 0.0  # what viewers show at first
    return bytes(start)
