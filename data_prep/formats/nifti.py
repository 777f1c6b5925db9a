"""NIfTI-1 and NIfTI-2 files, `.nii` and `.nii.gz`: header, voxels and grid, with what ITK does not check."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.errors import InputError
from data_prep.formats.gzip_stream import AGAIN, GZIP_MAGIC, ByteStream
from data_prep.formats.image_source import (
    FileLayout,
    VoxelSource,
    check_size,
    file_source,
    itk_grid,
    not_one_image,
    opened,
)
from data_prep.geometry.source_grid import GRID_TOLERANCE, SourceGrid, corners_apart_mm
from data_prep.geometry.types import triple

_HEADER_BYTES = {1: 348, 2: 540}  # by version
_DTYPES = {  # NIfTI's data type code -> numpy
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
ROUNDING = 1e-7  # nifti1.h
_OTHER_TYPES = {1: "bits", 32: "complex numbers", 128: "colors", 1792: "complex numbers", 2304: "colors"}


class Header(NamedTuple):
    """What a header says of the voxels behind it, under the NIfTI standard's names; dtype: None for a type not read."""

    size: tuple[int, ...]  # of the axes that dim[0] counts
    datatype: int
    dtype: np.dtype | None
    pixdim: tuple[float, ...]  # 8
    vox_offset: int
    scl_slope: float
    scl_inter: float
    xyzt_units: int
    qform_code: int
    sform_code: int
    quatern: tuple[float, ...]  # b, c, d and the offset x, y, z
    srow: tuple[float, ...]  # 3 x 4, row by row


def open_nifti(path: Path) -> VoxelSource:
    """Read the header of a NIfTI file; InputError unless it is one sound real 3-D image (axes of length 1 may follow).

    The grid is the one that SimpleITK finds. It must be nibabel's, too: where qform, sform and pixdim contradict each
    other by more than a tenth of a voxel, readers place the image differently, and it is refused.
    """
    with opened(path) as file:
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        start = ByteStream(file, "gzip" if compressed else "raw", path).read(max(_HEADER_BYTES.values()))
    if not start:
        raise InputError(f"{path}: the file is empty; {AGAIN}")
    header = parse_header(start)
    if header is None:
        raise InputError(f"{path}: is no NIfTI-1 file (nor NIfTI-2), by its header; expected one, .nii.gz or .nii")
    if compressed and not path.name.endswith(".gz"):
        raise InputError(f"{path}: is compressed, its name says otherwise; rename it to end in .nii.gz")
    check_size(path, header.size, 1)
    if header.dtype is None or len(header.size) < 3 or math.prod(header.size[3:]) != 1:
        other = _OTHER_TYPES.get(header.datatype, f"data type {header.datatype}")
        raise not_one_image(path, header.size, other if header.dtype is None else header.dtype.name)
    slope, intercept = _scaling(header, path)
    layout = FileLayout(
        size=triple(header.size[:3]),
        dtype=header.dtype,
        encoding="gzip" if compressed else "raw",
        skip=header.vox_offset,
        slope=slope,
        intercept=intercept,
    )
    known = header.sform_code > 0 or header.qform_code > 0
    notes = () if known else ("the header says nothing of orientation (sform and qform unset): taken for axial, LPS",)
    return file_source(path, layout, lambda: _grid(header, path), notes)


def parse_header(start: bytes) -> Header | None:
    """Read the first 540 bytes of a file (348 will do for NIfTI-1); None unless it is a single NIfTI file."""
    for order in "<>":
        version = {348: 1, 540: 2}.get(struct.unpack(order + "i", start[:4].ljust(4, b"\0"))[0])
        if version is None or len(start) < _HEADER_BYTES[version]:
            continue
        magic = start[344:348] == b"n+1\0" if version == 1 else start[4:12] == b"n+2\0\r\n\x1a\n"
        header = _unpack(start, order, version)
        if not magic or not 1 <= header.pop("axes") <= 7 or header["vox_offset"] < _HEADER_BYTES[version]:
            return None
        return Header(**header)
    return None


def _unpack(start: bytes, order: str, version: int) -> dict:
    def field(formats: tuple[str, str], offsets: tuple[int, int]) -> tuple:
        return struct.unpack_from(order + formats[version - 1], start, offsets[version - 1])

    axes, *dim = field(("8h", "8q"), (40, 16))
    (datatype,) = field(("h", "h"), (70, 12))
    (offset,) = field(("f", "q"), (108, 168))
    slope, inter = field(("2f", "2d"), (112, 176))
    qform_code, sform_code = field(("2h", "2i"), (252, 344))
    return {
        "axes": axes,
        "size": tuple(dim[: max(axes, 0)]),
        "datatype": datatype,
        "dtype": np.dtype(order + _DTYPES[datatype]) if datatype in _DTYPES else None,
        "pixdim": field(("8f", "8d"), (76, 104)),
        "vox_offset": int(offset) if math.isfinite(offset) else -1,
        "scl_slope": slope,
        "scl_inter": inter,
        "xyzt_units": field(("B", "i"), (123, 500))[0],
        "qform_code": qform_code,
        "sform_code": sform_code,
        "quatern": field(("6f", "6d"), (256, 352)),
        "srow": field(("12f", "12d"), (280, 400)),
    }


def _scaling(header: Header, path: Path) -> tuple[float, float]:
    slope, intercept = header.scl_slope, header.scl_inter
    scaled = math.isfinite(slope) and slope != 0  # the standard: a slope of 0 says that nothing is scaled
    # SimpleITK adds an intercept without a slope and takes NaN for 0, nibabel does neither
    if not math.isfinite(intercept) if scaled else math.isfinite(intercept) and intercept != 0:
        raise InputError(
            f"{path}: scl_slope {slope:g} with scl_inter {intercept:g}, which readers take differently; "
            "expected two numbers or neither; correct the header"
        )
    return (slope, intercept) if scaled else (1.0, 0.0)


def _grid(header: Header, path: Path) -> SourceGrid:
    used = [*header.pixdim[1:4]]
    used += header.srow if header.sform_code > 0 else ()
    used += header.quatern if header.qform_code > 0 else ()
    if min(used[:3]) <= 0 or not all(abs(value) < np.finfo(np.float32).max for value in used):
        steps = " x ".join(f"{step:g}" for step in used[:3])
        raise InputError(
            f"{path}: the header's geometry is none (pixdim {steps}; or NaN or infinity in it, in sform or in qform); "
            "expected a positive spacing and finite numbers; correct the header"
        )
    itk = itk_grid(path, _geometry_alone(header), "NiftiImageIO")
    grid = SourceGrid(header.size[:3], itk.spacing, itk.origin, itk.direction)
    if header.sform_code <= 0 and header.qform_code <= 0:
        return grid
    apart = corners_apart_mm(grid, _grid_of_affine(grid.size, _affine_mm(header)))
    if not apart <= GRID_TOLERANCE * min(grid.spacing):
        raise InputError(
            f"{path}: sform, qform and pixdim of the header contradict each other (a corner moves by {apart:.3g} mm); "
            "readers would place the image differently; correct the header"
        )
    return grid


def _affine_mm(header: Header) -> np.ndarray:
    """Return the 3 x 4 affine (RAS) that nibabel takes: the sform if it is set, else the qform.

    A quaternion of a half turn, as KiTS has it, leaves nothing but single precision's rounding for its first number;
    the standard (nifti1.h) then takes 0, and the others normalized: the root of that rounding would turn a slice by
    .02 degrees.
    """
    mm = {1: 1000.0, 3: 0.001}.get(header.xyzt_units & 7, 1.0)  # meters, micrometers
    if header.sform_code > 0:
        return mm * np.reshape(header.srow, (3, 4))
    b, c, d, *offset = header.quatern
    left = 1 - b * b - c * c - d * d
    a = math.sqrt(left) if left >= ROUNDING else 0.0
    if not a:
        length = math.hypot(b, c, d)
        b, c, d = b / length, c / length, d / length
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    mirrored = -1 if header.pixdim[0] < 0 else 1
    steps = np.array(header.pixdim[1:4]) * (1, 1, mirrored)
    return mm * np.column_stack([rotation * steps, offset])


def _grid_of_affine(size: tuple[int, ...], affine: np.ndarray) -> SourceGrid:
    lps = affine * np.array([[-1.0], [-1.0], [1.0]])
    steps = np.linalg.norm(lps[:, :3], axis=0)
    with np.errstate(invalid="ignore"):  # an axis without length gives NaN, which is on no grid
        direction = lps[:, :3] / steps
    return SourceGrid(size, tuple(steps), tuple(lps[:, 3]), tuple(direction.ravel()))


def _geometry_alone(header: Header) -> bytes:
    """Return a NIfTI-1 header of one voxel with the same geometry: all that ITK gets to see of a file."""
    made = bytearray(352)
    struct.pack_into("<i", made, 0, 348)
    struct.pack_into("<8h", made, 40, 3, *[1] * 7)
    struct.pack_into("<2h", made, 70, 4, 16)
    struct.pack_into("<8f", made, 76, -1.0 if header.pixdim[0] < 0 else 1.0, *header.pixdim[1:4], *[1.0] * 4)
    struct.pack_into("<f", made, 108, 352)
    struct.pack_into("<B", made, 123, header.xyzt_units & 7)
    struct.pack_into("<2h", made, 252, min(header.qform_code, 9), min(header.sform_code, 9))
    for offset, form, code in ((256, header.quatern, header.qform_code), (280, header.srow, header.sform_code)):
        if code > 0:  # what is unset may hold anything
            struct.pack_into(f"<{len(form)}f", made, offset, *form)
    made[344:348] = b"n+1\0"
    return bytes(made)
