"""NIfTI-1 and NIfTI-2 files, `.nii` and `.nii.gz`: header, voxels and grid, with checks that ITK lacks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from data_prep.errors import InputError, Note
from data_prep.formats.gzip_stream import AGAIN, GZIP_MAGIC, ByteStream
from data_prep.formats.image_source import (
    FileLayout,
    VoxelSource,
    check_size,
    file_source,
    itk_grid,
    not_one_image,
    opened,
)  # fmt: skip
from data_prep.formats.label_names import nifti_segments
from data_prep.geometry.source_grid import GRID_TOLERANCE, SourceGrid, corners_apart_mm
from data_prep.geometry.types import triple

_DTYPES = {  # NIfTI's data type code -> numpy
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_OTHER_TYPES = {1: "bits", 32: "complex numbers", 128: "colors", 1792: "complex numbers", 2304: "colors"}
_ROUNDING = 1e-7  # nifti1.h
_LARGEST_EXTENSIONS = 1 << 20  # bytes of a header that are searched for names of labels


def _fields(length: int, **fields: tuple[str, int]) -> np.dtype:
    kinds, offsets = zip(*fields.values(), strict=True)
    parts = {"names": list(fields), "formats": kinds, "offsets": offsets, "itemsize": length}
    return np.dtype(cast(Any, parts)).newbyteorder("<")


# The fields that are used, under the standard's names. scl: slope, inter; quatern: b, c, d, offset x, y, z; cal: max,
# min. (nibabel could read them, but importing it takes half a second per process.)
NIFTI1 = _fields(
    348, sizeof_hdr=("i4", 0), dim=("8i2", 40), datatype=("i2", 70), bitpix=("i2", 72), pixdim=("8f4", 76),
    vox_offset=("f4", 108), scl=("2f4", 112), xyzt_units=("u1", 123), cal=("2f4", 124), descrip=("S80", 148),
    qform_code=("i2", 252), sform_code=("i2", 254), quatern=("6f4", 256), srow=("(3,4)f4", 280), magic=("S4", 344),
)  # fmt: skip
_NIFTI2 = _fields(
    540, sizeof_hdr=("i4", 0), dim=("8i8", 16), datatype=("i2", 12), pixdim=("8f8", 104), vox_offset=("i8", 168),
    scl=("2f8", 176), descrip=("S80", 240), xyzt_units=("i4", 500), qform_code=("i4", 344),
    sform_code=("i4", 348), quatern=("6f8", 352), srow=("(3,4)f8", 400), magic=("S8", 4),
)  # fmt: skip
_MAGIC = {NIFTI1.itemsize: b"n+1", _NIFTI2.itemsize: b"n+2\0\r\n\x1a\n"}


def open_nifti(path: Path) -> VoxelSource:
    """Read the header of a NIfTI file and check that it is one 3-D image of real numbers.

    Axes of length 1 may follow. The grid is the one that SimpleITK finds. It must also be nibabel's: if qform, sform
    and pixdim contradict each other by more than a tenth of a voxel, readers place the image differently, so it is
    refused. InputError for any other file.
    """
    with opened(path) as file:
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        stream = ByteStream(file, "gzip" if compressed else "raw", path)
        start = stream.read(_NIFTI2.itemsize)
        header = parse_header(start)
        if header is not None and header["vox_offset"] <= _LARGEST_EXTENSIONS:
            start += stream.read(max(0, int(header["vox_offset"]) - len(start)))
    if not start:
        raise InputError(f"the file is empty; {AGAIN}", path, "empty_file")
    if header is None:
        problem = "not a NIfTI-1 file (nor NIfTI-2), by its header"
        raise InputError(f"{problem}; expected one, .nii.gz or .nii", path, "not_an_image")
    if compressed and not path.name.endswith(".gz"):
        raise InputError("is compressed, unlike its name; rename it to end in .nii.gz", path, "wrong_name")
    size = tuple(header["dim"][1 : 1 + header["dim"][0]].tolist())
    check_size(path, size, 1)
    code = int(header["datatype"])
    if code not in _DTYPES or len(size) < 3 or math.prod(size[3:]) != 1:
        raise not_one_image(path, size, _DTYPES.get(code) or _OTHER_TYPES.get(code, f"data type {code}"))
    slope, intercept = _scaling(header, path)
    layout = FileLayout(
        size=triple(size[:3]),
        dtype=np.dtype(_DTYPES[code]).newbyteorder(header.dtype["datatype"].byteorder),
        encoding="gzip" if compressed else "raw",
        skip=int(header["vox_offset"]),
        slope=slope,
        intercept=intercept,
    )
    known = max(header["sform_code"], header["qform_code"]) > 0
    unset = "the header has no orientation (sform and qform unset): axial, LPS assumed"
    notes = () if known else (Note(unset, "no_orientation"),)
    order = header.dtype["datatype"].byteorder
    segments = nifti_segments(start[header.itemsize : layout.skip], "<" if order in "<=" else ">")
    return file_source(path, layout, lambda: _grid(header, layout.size, path), notes, segments)


@dataclass(frozen=True)
class Marks:
    """What the header of a file says of its making: the directions of its axes, such as `IPL`, and its description."""

    orientation: str
    description: str


def read_marks(path: Path) -> Marks | None:
    """Return the marks of a NIfTI file by its first bytes; None for any other. InputError if it is damaged."""
    if not (path.is_file() and path.name.endswith((".nii", ".nii.gz"))):
        return None
    with opened(path) as file:
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        header = parse_header(ByteStream(file, "gzip" if compressed else "raw", path).read(_NIFTI2.itemsize))
    if header is None:
        return None
    letters = ""
    for column in _affine_mm(header)[:, :3].T:
        axis = int(np.argmax(np.abs(column)))
        letters += ("LPI", "RAS")[bool(column[axis] > 0)][axis]
    return Marks(letters, bytes(header["descrip"]).decode("ascii", "replace"))


def parse_header(start: bytes) -> np.void | None:
    """Return the fields of a header in the first 540 bytes of a file (348 for NIfTI-1); None for any other file."""
    for kind in (NIFTI1, NIFTI1.newbyteorder(), _NIFTI2, _NIFTI2.newbyteorder()):
        if len(start) < kind.itemsize:
            continue
        header: np.void = np.frombuffer(start, kind, 1)[0]
        if header["sizeof_hdr"] == kind.itemsize:
            valid = header["magic"] == _MAGIC[kind.itemsize] and 1 <= header["dim"][0] <= 7
            return header if valid and kind.itemsize <= header["vox_offset"] < np.inf else None
    return None


def _scaling(header: np.void, path: Path) -> tuple[float, float]:
    slope, intercept = header["scl"].tolist()
    scaled = math.isfinite(slope) and slope != 0  # the standard: with a slope of 0 nothing is scaled
    # SimpleITK adds an intercept without a slope and takes NaN for 0, nibabel does neither
    if not math.isfinite(intercept) if scaled else math.isfinite(intercept) and intercept != 0:
        found = f"scl_slope {slope:g} with scl_inter {intercept:g}, which readers interpret differently"
        raise InputError(f"{found}; expected two numbers or neither; correct the header", path)
    return (slope, intercept) if scaled else (1.0, 0.0)


def _grid(header: np.void, size: tuple[int, ...], path: Path) -> SourceGrid:
    steps = header["pixdim"][1:4]
    forms = [name for name, code in _FORMS if header[code] > 0]
    used = np.concatenate([steps, *(header[name].ravel() for name in forms)])
    if not (steps > 0).all() or not (np.abs(used) < np.finfo(np.float32).max).all():
        shown = " x ".join(f"{step:g}" for step in steps)
        found = f"the header's geometry is invalid (pixdim {shown}; or NaN or infinity in it, in sform or in qform)"
        raise InputError(f"{found}; expected a positive spacing and finite numbers; correct the header", path)
    itk = itk_grid(path, _geometry_alone(header))
    grid = SourceGrid(size, itk.spacing, itk.origin, itk.direction)
    apart = corners_apart_mm(grid, _grid_of_affine(size, _affine_mm(header))) if forms else 0.0
    if not apart <= GRID_TOLERANCE * min(grid.spacing):
        found = f"sform, qform and pixdim of the header contradict each other (a corner moves by {apart:.3g} mm)"
        raise InputError(f"{found}; readers would place the image differently; correct the header", path)
    return grid


_FORMS = (("srow", "sform_code"), ("quatern", "qform_code"))


def _affine_mm(header: np.void) -> np.ndarray:
    """Return the 3 x 4 affine (RAS) that nibabel takes: the sform if it is set, otherwise the qform.

    In a quaternion of a half turn, as KiTS has it, the first number is nothing but single precision's rounding. The
    standard (nifti1.h) then takes 0, and the others normalized: the root of that rounding would turn a slice by .02
    degrees.
    """
    mm = {1: 1000.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7, 1.0)  # meters, micrometers
    if header["sform_code"] > 0:
        return mm * header["srow"].astype(float)
    axis, offset = np.split(header["quatern"].astype(float), 2)  # b, c, d
    left = 1 - axis @ axis
    a = math.sqrt(left) if left >= _ROUNDING else 0.0
    if not a:
        axis /= np.linalg.norm(axis)
    rotation = (a * a - axis @ axis) * np.eye(3) + 2 * np.outer(axis, axis) + 2 * a * np.cross(axis, np.eye(3)).T
    steps = header["pixdim"][1:4] * np.array([1.0, 1.0, -1.0 if header["pixdim"][0] < 0 else 1.0])
    return mm * np.column_stack([rotation * steps, offset])


def _grid_of_affine(size: tuple[int, ...], affine: np.ndarray) -> SourceGrid:
    lps = affine * np.array([[-1.0], [-1.0], [1.0]])
    steps = np.linalg.norm(lps[:, :3], axis=0)
    with np.errstate(invalid="ignore"):  # an axis without length gives NaN, which is on no grid
        direction = lps[:, :3] / steps
    return SourceGrid(size, tuple(steps), tuple(lps[:, 3]), tuple(direction.ravel()))


def _geometry_alone(header: np.void) -> bytes:
    """Return a NIfTI-1 header of one voxel with the same geometry: all that ITK gets to see of a file."""
    made = np.zeros(1, NIFTI1)[0]
    made["sizeof_hdr"], made["magic"], made["vox_offset"] = NIFTI1.itemsize, b"n+1", 352
    made["dim"], made["datatype"], made["bitpix"] = (3, *[1] * 7), 4, 16
    made["pixdim"] = (-1.0 if header["pixdim"][0] < 0 else 1.0, *header["pixdim"][1:4], *[1.0] * 4)
    made["xyzt_units"] = int(header["xyzt_units"]) & 7
    for name, code in _FORMS:
        if header[code] > 0:  # an unset form may hold anything
            made[name], made[code] = header[name], min(header[code], 9)
    return made.tobytes() + bytes(4)
