"""Voxels written as NIfTI, NRRD or MetaImage, and read back before the file gets its name."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data_prep.errors import InputError
from data_prep.files.atomic import replacing
from data_prep.files.plain_paths import plain_folder
from data_prep.formats.gzip_stream import ByteStream, Encoding
from data_prep.formats.label_names import nifti_extension, nrrd_fields
from data_prep.formats.nifti import NIFTI1
from data_prep.geometry.source_grid import SourceGrid

LEVEL = 6  # of zlib's 0 to 9: isal is as fast on label maps, whose files become twice as large
_WBITS: dict[Encoding, int] = {"gzip": 31, "zlib": 15}  # zlib's numbers for the two kinds of stream
_ENCODINGS: dict[str, Encoding] = {".nii.gz": "gzip", ".nii": "raw", ".nrrd": "gzip", ".mha": "zlib"}
_NIFTI = (".nii.gz", ".nii")
_NIFTI_START = 352  # byte of the first voxel
_NIFTI_LONGEST = 32767  # axis, in voxels


def write_image(
    stored: np.ndarray,
    grid: SourceGrid,
    path: str | Path,
    *,
    level: int = LEVEL,
    slope: float | None = None,
    names: bool = False,
    mark: str = "",
) -> None:
    """Write voxels [k, j, i] (`grid`'s own axis order), uint8 or int16, to a `.nii.gz`, `.nii`, `.nrrd` or `.mha` file.

    The header is ITK's, so the geometry is stored as in all files of ITK. The bytes are written by Python, which
    reports a full disk (ITK does not, for NIfTI), and read back and compared before the file gets its name. Names that
    hold `.nii` inside, or that are not UTF-8, are written like any other.

    Args:
        level: of the compression, zlib's 0 to 9.
        slope: of a NIfTI file: readers multiply the stored numbers by it.
        names: the voxels are labels, whose names and colors a NIfTI or NRRD file gets (`formats.label_names`).
        mark: description in the header of a NIfTI file, up to 79 letters of ASCII.

    Raises:
        OSError: the disk is full, or what is read back differs.
        InputError: an axis is longer than NIfTI can hold.
        ValueError: `stored` has another shape than `grid`, or the name another ending.
    """
    path = Path(path)
    ending = next((ending for ending in _ENCODINGS if path.name.endswith(ending)), "")
    if stored.shape != tuple(grid.size[::-1]) or not ending:
        raise ValueError(f"{path}: voxels of the shape {stored.shape}; expected {grid.size[::-1]} and an image's name")
    if ending in _NIFTI and max(grid.size) > _NIFTI_LONGEST:
        raise InputError(f"NIfTI holds up to {_NIFTI_LONGEST} voxels along an axis; write .nrrd or .mha", path)
    encoding, header = _ENCODINGS[ending], _header(grid, stored.dtype, ending, slope, mark)
    if names:
        header = _with_names(header, stored, ending)
    inside = header if ending == ".nii.gz" else b""  # of the compressed stream
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:
            pieces: Iterable[bytes] = _pieces(inside, stored, encoding, level)
            if ending == ".mha":
                pieces = list(pieces)
                header = header.replace(b" = -1\n", b" = %d\n" % sum(map(len, pieces)))
            if not inside:
                file.write(header)
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        with open(temporary, "rb") as file:
            whole = os.fstat(file.fileno()).st_size == size
            if not (whole and _is_written(file, path, b"" if inside else header, inside, stored, encoding)):
                raise OSError(errno.EIO, "what was written cannot be read back", str(path))


def _pieces(inside: bytes, stored: np.ndarray, encoding: Encoding, level: int) -> Iterator[bytes]:
    if encoding == "raw":
        yield inside
        yield from (np.ascontiguousarray(plane).tobytes() for plane in stored)
        return
    compressor = zlib.compressobj(level, zlib.DEFLATED, _WBITS[encoding])
    yield compressor.compress(inside)
    for plane in stored:
        yield compressor.compress(np.ascontiguousarray(plane).tobytes())
    yield compressor.flush()


def _is_written(
    file: BinaryIO, path: Path, before: bytes, inside: bytes, stored: np.ndarray, encoding: Encoding
) -> bool:
    if file.read(len(before)) != before:
        return False
    stream = ByteStream(file, encoding, path)
    try:
        same = stream.read(len(inside)) == inside
        same = same and all(stream.read(plane.nbytes) == np.ascontiguousarray(plane).tobytes() for plane in stored)
        stream.finish(0)
    except InputError:  # its checksum or length
        return False
    return same


def _header(grid: SourceGrid, dtype: np.dtype, ending: str, slope: float | None, mark: str) -> bytes:
    """Return the bytes before the voxels, as SimpleITK writes them for one voxel, with the size and encoding set.

    ValueError for an ending whose header has no rule here.
    """
    if ending not in (*_NIFTI, ".nrrd", ".mha"):
        raise ValueError(f"{ending}: size and encoding have no place in its header")
    import SimpleITK as sitk

    voxel = sitk.GetImageFromArray(np.zeros((1, 1, 1), dtype))
    voxel.SetSpacing(grid.spacing)
    voxel.SetOrigin(grid.origin)
    voxel.SetDirection(grid.direction)
    with plain_folder() as folder:
        file = folder / f"voxel{ending.removesuffix('.gz')}"
        try:
            sitk.WriteImage(voxel, str(file))
        except RuntimeError:  # a full disk, which ITK reports for text headers alone
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from None
        start = file.read_bytes()
    header = start[: -dtype.itemsize]
    if ending in _NIFTI:
        if len(header) != _NIFTI_START:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        return _completed(bytearray(header), grid, slope, mark)
    size = " ".join(map(str, grid.size)).encode()
    for old, new in (
        (b"sizes: 1 1 1\n", b"sizes: %b\n" % size),
        (b"encoding: raw\n", b"encoding: gzip\n"),
        (b"DimSize = 1 1 1\n", b"DimSize = %b\n" % size),
        (b"CompressedData = False\n", b"CompressedData = True\nCompressedDataSize = -1\n"),
    ):
        header = header.replace(old, new)
    return header


def _with_names(header: bytes, stored: np.ndarray, ending: str) -> bytes:
    if ending == ".nrrd":
        return header.removesuffix(b"\n") + nrrd_fields(stored) + b"\n"
    if ending == ".mha":  # has no place for them
        return header
    if ending not in _NIFTI:
        raise ValueError(f"{ending}: names of labels have no place in its header")
    extension, fields = nifti_extension(stored), bytearray(header)
    np.frombuffer(fields, NIFTI1, 1)[0]["vox_offset"] = _NIFTI_START + len(extension)
    fields[NIFTI1.itemsize] = 1  # there is an extension
    return bytes(fields) + extension


def _completed(start: bytearray, grid: SourceGrid, slope: float | None, mark: str) -> bytes:
    header = np.frombuffer(start, NIFTI1, 1)[0]
    header["dim"][1:4] = grid.size
    if slope is not None:
        header["scl"] = slope, 0.0
        header["cal"] = 1.0, 0.0  # what viewers show at first
    if mark:
        header["descrip"] = mark.encode("ascii")
    return bytes(start)
