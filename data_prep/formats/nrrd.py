"""NRRD files with their data attached, `.nrrd`: the bytes of the voxels and their grid."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from data_prep.errors import InputError, Note
from data_prep.formats.gzip_stream import Encoding
from data_prep.formats.image_source import NO_ORIENTATION, FileLayout, VoxelSource, file_source, not_one_image
from data_prep.formats.label_names import nrrd_segments
from data_prep.formats.text_header import (
    DETACHED,
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


_SPACES = {  # name -> signs that turn its axes to LPS
    **dict.fromkeys(("left-posterior-superior", "lps"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1.0, -1.0, 1.0)),
}
_SPATIAL = ("domain", "space", "none", "???")  # kinds of an axis


def open_nrrd(path: Path) -> VoxelSource:
    """Read the header of an NRRD file; InputError unless it is one valid real 3-D image, raw or gzip, all in this file.

    Further axes of length 1 are dropped. The header is read here: ITK 5.4 takes NaN and infinity in it for numbers,
    reads a compressed file without its last bytes, and crashes at very long values.
    """
    header = read_text_header(path, re.compile(rb"NRRD000\d\s*$"), re.compile(rb"\s*$"))
    fields = fields_of(header, ": ", path)
    if "datafile" in fields:
        raise InputError(DETACHED, path)
    encoding = _ENCODINGS.get(fields.get("encoding", "").lower())
    if encoding is None:
        raise InputError(f"{quoted(fields, 'encoding')}; expected raw or gzip; save the file as one of these", path)
    if any(fields.get(name, "0") != "0" for name in ("lineskip", "byteskip")):
        raise InputError("skips lines or bytes before its voxels; expected neither; save the file without them", path)
    size = size_of(fields, "sizes", "dimension", path)
    try:
        segments = nrrd_segments(header)
    except ValueError:
        raise InputError(
            "holds overlapping segments in layers; expected one label map; export it as such", path
        ) from None
    axes = _axes(fields, size, path)
    kind = _TYPES.get(fields.get("type", "").lower())
    if kind is None or len(axes) != 3 or math.prod(size) != math.prod(size[axis] for axis in axes):
        if segments and len(size) > 3:
            raise InputError("holds overlapping segments in layers; expected one label map; export it as such", path)
        raise not_one_image(path, size, quoted(fields, "type"))
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower(), "|")
    if order == "|" and kind not in ("i1", "u1"):
        raise InputError("the header has no byte order; expected endian little or big; correct the header", path)
    three = triple(size[axis] for axis in axes)
    layout = FileLayout(three, np.dtype(order + kind), encoding, start=len(header))
    notes = [] if _is_oriented(fields) else [Note(NO_ORIENTATION, "no_orientation")]
    if not {"spacings", "spacedirections"} & fields.keys():
        notes.append(Note("the header has no spacing: 1 mm assumed"))
    return file_source(path, layout, lambda: _grid(fields, three, axes, path), notes, segments)


def _axes(fields: dict[str, str], size: tuple[int, ...], path: Path) -> list[int]:
    """Return which axes are in space, the fastest first; more or fewer than three if the file is no 3-D image."""
    vectors, kinds = _vectors(fields), fields.get("kinds", "").lower().split()
    if (vectors and len(vectors) != len(size)) or ("none" in vectors and len(size) == 3):
        raise not_a_geometry(fields, "spacedirections", path)
    axes = [
        axis
        for axis in range(len(size))
        if (not vectors or vectors[axis] != "none") and (len(kinds) != len(size) or kinds[axis] in _SPATIAL)
    ]
    while len(axes) > 3 and size[axes[-1]] == 1:
        axes.pop()
    return axes


def _vectors(fields: dict[str, str]) -> list[str]:
    return re.findall(r"none|\([^()]*\)", fields.get("spacedirections", ""))


def _is_oriented(fields: dict[str, str]) -> bool:
    return fields.get("space", "").lower() in _SPACES and "spacedirections" in fields


def _grid(fields: dict[str, str], size: tuple[int, int, int], axes: list[int], path: Path) -> SourceGrid:
    given = set(re.findall(r'"([^"]*)"', fields.get("spaceunits" if _vectors(fields) else "units", "")))
    to_mm = unit_mm(given, path)
    signs = np.array(_SPACES.get(fields.get("space", "").lower(), (1.0, 1.0, 1.0)))
    origin = numbers_of(fields, "spaceorigin", path) or [0.0, 0.0, 0.0]
    if vectors := _vectors(fields):
        columns = [numbers_of({"spacedirections": vectors[axis]}, "spacedirections", path) for axis in axes]
        if {len(column) for column in (*columns, origin)} == {len(vectors)}:  # a space of four dimensions
            columns, origin = [column[:3] for column in columns], origin[:3]
    else:
        steps = numbers_of({"spacings": " ".join(_spacings(fields, axes))}, "spacings", path) or [1.0, 1.0, 1.0]
        columns = np.diag(steps).tolist()
    if ("spacedirections" in fields and not vectors) or {len(column) for column in columns} != {3}:
        raise not_a_geometry(fields, "spacedirections" if "spacedirections" in fields else "spacings", path)
    if len(origin) != 3:
        raise not_a_geometry(fields, "spaceorigin", path)
    steps_mm = np.array(columns, float).T * signs[:, None] * to_mm
    with np.errstate(all="ignore"):  # an axis without length, or a huge one, is refused by its spacing
        spacing = np.linalg.norm(steps_mm, axis=0)
        direction = steps_mm / spacing
    place = np.array(origin) * signs * to_mm
    return SourceGrid(size, tuple(spacing.tolist()), tuple(place.tolist()), tuple(direction.ravel().tolist()))


def _spacings(fields: dict[str, str], axes: list[int]) -> list[str]:
    given = fields.get("spacings", "").split()
    return [given[axis] for axis in axes] if len(given) > max(axes) else given
