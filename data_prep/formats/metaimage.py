"""MetaImage files with their data attached, `.mha`: the bytes of the voxels and their grid."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from data_prep.errors import InputError
from data_prep.formats.gzip_stream import Encoding
from data_prep.formats.image_source import FileLayout, VoxelSource, file_source, itk_grid, not_one_image
from data_prep.formats.text_header import DETACHED, check_numbers, fields_of, quoted, read_text_header, size_of
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
_DIRECTIONS = ("transformmatrix", "rotation", "orientation")  # three names of one field


def open_metaimage(path: Path) -> VoxelSource:
    """Read the header of a MetaImage file; InputError unless it is one valid real 3-D image, all in this file.

    ITK 5.4 reads altered compressed data without an error; here the zlib stream's checksum is compared.
    """
    header = read_text_header(path, re.compile(rb"\w+ *= "), re.compile(rb"ElementDataFile *="))
    fields = fields_of(header, "=")
    if fields["elementdatafile"].upper() != "LOCAL":
        raise InputError(DETACHED, path)
    for name, neutral in _NEUTRAL.items():
        if fields.get(name, neutral[0]) not in neutral:
            raise InputError(f"{quoted(fields, name)} in the header is not supported; save the file without it", path)
    size = size_of(fields, "dimsize", path)
    kind = _TYPES.get(fields.get("elementtype", ""))
    if kind is None or len(size) != 3 or fields.get("elementnumberofchannels", "1") != "1":
        raise not_one_image(path, size, quoted(fields, "elementtype"))
    check_numbers(fields, ("offset", "position", "origin", "elementspacing", "elementsize", *_DIRECTIONS), path)
    order = ">" if _true(fields, "binarydatabyteordermsb") or _true(fields, "elementbyteordermsb") else "<"
    encoding: Encoding = "zlib" if _true(fields, "compresseddata") else "raw"
    layout = FileLayout(triple(size), np.dtype(order + kind), encoding, start=len(header))
    return file_source(path, layout, lambda: itk_grid(path, header, "MetaImageIO"))


def _true(fields: dict[str, str], name: str) -> bool:
    return fields.get(name, "False").upper() in ("TRUE", "T", "1", "YES")
