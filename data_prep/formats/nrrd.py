"""NRRD files with their data attached, `.nrrd`: the bytes of the voxels and their grid."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from data_prep.errors import InputError
from data_prep.formats.gzip_stream import Encoding
from data_prep.formats.image_source import FileLayout, VoxelSource, file_source, itk_grid, not_one_image
from data_prep.formats.text_header import DETACHED, check_numbers, fields_of, quoted, read_text_header, size_of
from data_prep.geometry.types import triple

_ENCODINGS: dict[str, Encoding] = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}
_NAMES = {  # of the types, as the format's definition lists them
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_TYPES = {name: kind for kind, names in _NAMES.items() for name in names}


def open_nrrd(path: Path) -> VoxelSource:
    """Read the header of an NRRD file; InputError unless it is one valid real 3-D image, raw or gzip, all in this file.

    ITK 5.4 reads a compressed file without its last bytes, and takes NaN and infinity in the header for numbers.
    """
    header = read_text_header(path, re.compile(rb"NRRD000\d\s*$"), re.compile(rb"\s*$"))
    fields = fields_of(header, ": ")
    if "datafile" in fields:
        raise InputError(DETACHED, path)
    encoding = _ENCODINGS.get(fields.get("encoding", "").lower())
    if encoding is None:
        raise InputError(f"{quoted(fields, 'encoding')}; expected raw or gzip; save the file as one of these", path)
    if any(fields.get(name, "0") != "0" for name in ("lineskip", "byteskip")):
        raise InputError("skips lines or bytes before its voxels; expected neither; save the file without them", path)
    size = size_of(fields, "sizes", path)
    kind = _TYPES.get(fields.get("type", "").lower())
    if kind is None or len(size) != 3:
        raise not_one_image(path, size, quoted(fields, "type"))
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower(), "|")
    if order == "|" and kind not in ("i1", "u1"):
        raise InputError("the header has no byte order; expected endian little or big; correct the header", path)
    check_numbers(fields, ("spacings", "spacedirections", "spaceorigin"), path)
    layout = FileLayout(triple(size), np.dtype(order + kind), encoding, start=len(header))
    return file_source(path, layout, lambda: itk_grid(path, header, "NrrdImageIO"))
