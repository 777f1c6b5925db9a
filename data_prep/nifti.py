"""Whether a NIfTI file is whole and its numbers are numbers: what ITK does not check."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from data_prep.command import InputError

_CHUNK_BYTES = 1 << 20
_HEADER_BYTES = 348
_FLOATS = {16: "f4", 64: "f8"}  # NIfTI's data type code -> numpy
_AGAIN = "copy or download it anew"


class Header(NamedTuple):
    """What a NIfTI-1 header says of the data after it. dtype: of the voxels if they are floats, else None."""

    offset: int  # bytes before the first voxel
    data_bytes: int
    dtype: np.dtype | None


def check_name(path: Path) -> None:
    """Raise InputError unless `path` ends in .nii.gz or .nii and is not a folder."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a NIfTI file, .nii.gz or .nii")
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: the name does not end in .nii.gz or .nii; expected a NIfTI file")


def check_whole(path: Path) -> None:
    """Raise InputError for a file that is absent, empty, no NIfTI-1, ends early, is damaged, or holds NaN.

    ITK reads a truncated or altered .nii.gz without a word and fills up with zeros or noise, and it turns NaN
    and infinity into 0 (both seen with 5.4). So the stream is inflated once here: for gzip's own checksum,
    for the length that the header promises, and for floats that are none.
    """
    check_name(path)
    try:
        with open(path, "rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if compressed else open(path, "rb") as file:
            start = file.read(_HEADER_BYTES)
            header = parse_header(start)
            length, bad = _survey(file, len(start), header)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except EOFError:
        raise InputError(f"{path}: the file is truncated (its gzip stream has no end); {_AGAIN}") from None
    except (zlib.error, OSError) as error:
        raise InputError(f"{path}: the file is damaged or unreadable ({error}); {_AGAIN}") from None
    if length == 0:
        raise InputError(f"{path}: the file is empty; {_AGAIN}")
    if header is None:
        raise InputError(f"{path}: is no NIfTI-1 file, by its header; expected one, .nii.gz or .nii")
    expected = header.offset + header.data_bytes
    if length < expected:
        raise InputError(f"{path}: the file is truncated ({length} of {expected} bytes, inflated); {_AGAIN}")
    if compressed and not path.name.endswith(".gz"):
        raise InputError(f"{path}: is compressed, its name says otherwise; rename it to end in .nii.gz")
    if bad:
        raise InputError(f"{path}: {bad} voxels are NaN or infinite; expected numbers; repair or leave out the case")


def parse_header(start: bytes) -> Header | None:
    """Read the first 348 bytes of a file; None unless it is a single-file NIfTI-1 of either byte order."""
    for order in "<>":
        if start[:4] != struct.pack(order + "i", _HEADER_BYTES) or start[344:348] != b"n+1\0":
            continue
        dim = struct.unpack_from(order + "8h", start, 40)
        code, bits = struct.unpack_from(order + "2h", start, 70)
        (offset,) = struct.unpack_from(order + "f", start, 108)
        if not 1 <= dim[0] <= 7 or not math.isfinite(offset) or offset < _HEADER_BYTES:
            return None
        voxels = math.prod(max(n, 1) for n in dim[1 : 1 + dim[0]])
        dtype = np.dtype(order + _FLOATS[code]) if code in _FLOATS else None
        return Header(int(offset), voxels * bits // 8, dtype)
    return None


def _survey(file: BinaryIO, done: int, header: Header | None) -> tuple[int, int]:
    """Read to the end: (bytes of the whole file, voxels that are NaN or infinite)."""
    bad = 0
    rest = b""  # of a voxel that a read cut in two
    dtype = None if header is None else header.dtype
    if dtype is not None:
        done += len(file.read(header.offset - done))
    end = done + header.data_bytes if dtype is not None else 0
    while chunk := file.read(_CHUNK_BYTES):
        if dtype is not None:
            data = rest + chunk[: max(end - done, 0)]
            whole = len(data) - len(data) % dtype.itemsize
            values = np.frombuffer(data[:whole], dtype)
            bad += values.size - int(np.count_nonzero(np.isfinite(values)))
            rest = data[whole:]
        done += len(chunk)
    return done, bad
