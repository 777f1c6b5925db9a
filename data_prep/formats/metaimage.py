"""MetaImage files with their data attached, `.mha`: the bytes of the voxels and their grid."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from data_prep.errors import InputError, Note
from data_prep.formats.gzip_stream import Encoding
from data_prep.formats.image_source import NO_ORIENTATION, FileLayout, VoxelSource, file_source, not_one_image
from data_prep.formats.text_header import (
    DETACHED,
    TWO_WAYS,
    fields_of,
    not_a_geometry,
    numbers_of,
    quoted,
    read_text_header,
    size_of,
    unit_mm,
)
from data_prep.geometry.source_grid import SourceGrid
from data_prep.geometry.types import triple

_TYPES = {  # not MET_LONG, which has four bytes on one machine and eight on another
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_NEUTRAL = {  # fields that can change the voxels or their place, and the values that do not
    "binarydata": ("True",),
    "headersize": ("0", "-1"),
    "elementtointensityfunctionslope": ("1",),
    "elementtointensityfunctionoffset": ("0",),
}
_DIRECTIONS = ("transformmatrix", "rotation", "orientation")  # three names of one field, as the following
_ORIGINS = ("offset", "position", "origin")
_SPACINGS = ("elementspacing", "elementsize")  # the second counts where the first is absent


def open_metaimage(path: Path) -> VoxelSource:
    """Read the header of a MetaImage file; InputError unless it is one valid real 3-D image, all in this file.

    Further axes of length 1 are dropped. The header is read here: ITK 5.4 crashes at some numbers of axes, and reads
    altered compressed data without an error; here the zlib stream's checksum is compared.
    """
    header = read_text_header(path, re.compile(rb"\w+ *="), re.compile(rb"ElementDataFile *="))
    fields = fields_of(header, "=", path)
    if fields["elementdatafile"].upper() != "LOCAL":
        raise InputError(DETACHED, path)
    for name, neutral in _NEUTRAL.items():
        if fields.get(name, neutral[0]) not in neutral:
            raise InputError(f"{quoted(fields, name)} in the header is not supported; save the file without it", path)
    size = size_of(fields, "dimsize", "ndims", path)
    kind = _TYPES.get(fields.get("elementtype", ""))
    if kind is None or len(size) < 3 or math.prod(size[3:]) != 1 or fields.get("elementnumberofchannels", "1") != "1":
        raise not_one_image(path, size, quoted(fields, "elementtype"))
    order = ">" if _true(fields, "binarydatabyteordermsb") or _true(fields, "elementbyteordermsb") else "<"
    encoding: Encoding = "zlib" if _true(fields, "compresseddata") else "raw"
    layout = FileLayout(triple(size[:3]), np.dtype(order + kind), encoding, start=len(header))
    notes = [] if fields.keys() & set(_DIRECTIONS) else [Note(NO_ORIENTATION, "no_orientation")]
    if not fields.keys() & set(_SPACINGS):
        notes.append(Note("the header has no spacing: 1 mm assumed"))
    return file_source(path, layout, lambda: _grid(fields, size, path), notes)


def _grid(fields: dict[str, str], size: tuple[int, ...], path: Path) -> SourceGrid:
    count = len(size)
    to_mm = unit_mm({fields.get("distanceunits", "")}, path)
    spacing = np.array(
        _one_of(fields, _SPACINGS[:1], count, path) or _one_of(fields, _SPACINGS[1:], count, path) or 1.0
    )
    origin = np.array(_one_of(fields, _ORIGINS, count, path) or 0.0)
    axes = np.reshape(_one_of(fields, _DIRECTIONS, count * count, path) or np.eye(count), (count, count))[:3, :3]
    return SourceGrid(
        triple(size[:3]),
        triple((np.broadcast_to(spacing, count)[:3] * to_mm).tolist()),
        triple((np.broadcast_to(origin, count)[:3] * to_mm).tolist()),
        tuple(axes.T.ravel().tolist()),  # a line of the file is the direction of an axis
    )


def _one_of(fields: dict[str, str], names: tuple[str, ...], count: int, path: Path) -> list[float]:
    """Return the numbers of a field that has several names; none if it does not exist."""
    given = {name: numbers_of(fields, name, path) for name in names if name in fields}
    first = next(iter(given.values()), [])
    for name, numbers in given.items():
        if len(numbers) != count:
            raise not_a_geometry(fields, name, path)
        if numbers != first:
            raise InputError(f"{TWO_WAYS}: {' and '.join(given)} differ; correct the header", path)
    return first


def _true(fields: dict[str, str], name: str) -> bool:
    return fields.get(name, "False").upper() in ("TRUE", "T", "1", "YES")
