"""A probability as a NIfTI file: whole percents with the header's scale factor of 0.01, written plane by plane."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np

from data_prep.errors import InputError
from data_prep.files.atomic import replacing
from data_prep.geometry.source_grid import SourceGrid

ENDING = ".nii.gz"
_DIM_3, _SCL_SLOPE, _CAL_MAX = 46, 112, 124  # places in the header of NIfTI-1
_LEVEL = 1  # of igzip's 0 to 3: percents are mostly 0


def write_percent(percent_zyx: np.ndarray, like: SourceGrid, path: str | Path) -> None:
    """Write whole percents uint8 [z, y, x] (axial order) as probabilities 0 to 1 on the grid `like`, to a `.nii.gz`.

    NIfTI has no half precision, and single precision takes four times the room and more: so the file holds percents
    with `scl_slope` 0.01, which readers that heed it give as probabilities. Its grid is that of `write_labels`. It
    appears whole or not at all, and no second copy of the volume is made. ValueError where the shape is not that of
    the source.
    """
    from isal import igzip

    path = Path(path)
    if not path.name.endswith(ENDING):
        raise InputError(
            f"probabilities are written only as {ENDING}; choose such a name", path=path, code="wrong_name"
        )
    stored = like.to_stored(percent_zyx)
    with replacing(path) as temporary, igzip.open(temporary, "wb", compresslevel=_LEVEL) as file:
        file.write(_header(like))
        for plane in stored:
            file.write(np.ascontiguousarray(plane, np.uint8).tobytes())


def _header(like: SourceGrid) -> bytes:
    # SimpleITK writes it, for one plane alone, so that geometry is put down as in every other file of this project
    import SimpleITK as sitk

    plane = sitk.Image([*like.size[:2], 1], sitk.sitkUInt8)
    plane.SetSpacing(like.spacing)
    plane.SetOrigin(like.origin)
    plane.SetDirection(like.direction)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plane.nii"
        sitk.WriteImage(plane, str(file))
        start = bytearray(file.read_bytes()[:352])
    struct.pack_into("<h", start, _DIM_3, like.size[2])
    struct.pack_into("<ff", start, _SCL_SLOPE, 0.01, 0.0)
    struct.pack_into("<ff", start, _CAL_MAX, 1.0, 0.0)  # what viewers show at first
    return bytes(start)
