"""An image that is described but not yet read: its grid, and its voxels slab by slab in one pass over the file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data_prep.errors import InputError, raise_if_out_of_memory
from data_prep.files.plain_paths import plain_folder
from data_prep.formats.gzip_stream import AGAIN, LARGEST_RATIO, ByteStream, Encoding
from data_prep.geometry.source_grid import SourceGrid, check_grid
from data_prep.labels import Segment

FILE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")  # of all image and label files; the first that exists counts

LARGEST_BYTES = 16 << 30  # of voxels; a CT of 512 x 512 x 2000 voxels has 1 GiB
NO_ORIENTATION = "the header has no orientation: axial, LPS assumed"
SLACK_BYTES = 1 << 20  # that a compressed file may hold after its voxels
# If axes are turned, 32 voxels of int16 fill a line of the processor's cache: 2.6 times as fast as 1 plane or all.
_PLANES_PER_SLAB = 32
_SLAB_BYTES = 64 << 20


@dataclass(frozen=True)
class VoxelSource:
    """An image whose header was read and is valid.

    slabs: yields the voxels as arrays [k, j, i] of `dtype`, in the file's axis order and units, k ascending, and raises
    InputError for a damaged file, at the latest after the last. Each array is valid until the next one.
    """

    path: Path
    grid: SourceGrid
    dtype: np.dtype
    slabs: Callable[[], Iterator[np.ndarray]]
    notes: tuple[str, ...] = ()  # one line per decision of the reader
    segments: tuple[Segment, ...] = ()  # what the file says of the numbers of a label map
    step: float = 0.0  # between neighboring values, if they are scaled whole numbers
    dicom: object = None  # the `DicomSeries` of a DICOM folder


@dataclass(frozen=True)
class FileLayout:
    """Where and how a file holds its voxels; value = stored x slope + intercept."""

    size: tuple[int, int, int]  # x fastest
    dtype: np.dtype  # as stored, with its byte order
    encoding: Encoding
    start: int = 0  # byte of the file where the (compressed) data begin
    skip: int = 0  # bytes of these, inflated, before the first voxel
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def data_bytes(self) -> int:
        return math.prod(self.size) * self.dtype.itemsize

    @property
    def is_scaled(self) -> bool:
        """Whether a slope and an intercept change the values."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    @property
    def value_dtype(self) -> np.dtype:
        """The same as SimpleITK's: the stored type, or floats if there are a slope and an intercept."""
        if not self.is_scaled:
            return self.dtype.newbyteorder("=")
        return np.dtype(np.float64 if self.dtype.itemsize == 8 and self.dtype.kind == "f" else np.float32)


def stem_of(path: str | Path) -> str:
    """Return the name of an image or label file without its ending; of any other file, its whole name.

    >>> stem_of("scans/case_00001.nii.gz"), stem_of("notes.txt")
    ('case_00001', 'notes.txt')
    """
    name = Path(path).name
    return next((name.removesuffix(ending) for ending in FILE_ENDINGS if name.endswith(ending)), name)


def file_source(
    path: Path,
    layout: FileLayout,
    read_grid: Callable[[], SourceGrid],
    notes: Sequence[str] = (),
    segments: tuple[Segment, ...] = (),
) -> VoxelSource:
    """Return the voxels of a file after checks of its size and grid; InputError before memory is allocated.

    The size is checked first: no header is believed that claims more than the file can hold.
    """
    check_size(path, layout.size, layout.dtype.itemsize)
    with opened(path) as file:
        held = os.fstat(file.fileno()).st_size - layout.start
    most = held if layout.encoding == "raw" else held * LARGEST_RATIO
    if (promised := layout.skip + layout.data_bytes) > most:
        claim = f"{promised} bytes promised, it can hold at most {most}"
        raise InputError(f"the file is truncated or its header is wrong ({claim}); {AGAIN}", path, "truncated")
    grid = read_grid()
    if grid.size != layout.size:
        raise InputError("the header can be read in two ways; expected one size; save the file again", path)
    check_grid(grid, path)
    step = abs(layout.slope) if layout.is_scaled and layout.dtype.kind in "iu" else 0.0
    return VoxelSource(path, grid, layout.value_dtype, lambda: _file_slabs(path, layout), tuple(notes), segments, step)


def check_size(path: Path, size: Sequence[int], itemsize: int) -> None:
    """Raise InputError unless every axis has a voxel and all together have at most `LARGEST_BYTES`."""
    claim = f"the header claims {' x '.join(map(str, size))} voxels"
    if min(size) < 1:
        raise InputError(f"{claim}; expected 1 or more along each axis; {AGAIN}", path)
    if math.prod(size) * itemsize > LARGEST_BYTES:
        limit = f"at most {LARGEST_BYTES >> 30} GiB are read; is this a CT volume?"
        raise InputError(f"{claim} of {itemsize} bytes; {limit}", path)


def not_one_image(path: Path, size: Sequence[int], kind: str) -> InputError:
    """Return the error for a valid file that holds something other than one real 3-D image."""
    found = f"holds {' x '.join(map(str, size))} of {kind}"
    return InputError(f"{found}; expected one 3-D image with one real value per voxel", path)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read its bytes; errors of the disk become InputErrors."""
    try:
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise InputError("no such file", path, "no_such_file") from None
    except OSError as error:
        raise_if_out_of_memory(error, path)
        detail = f"the file is damaged or unreadable ({error.strerror}); {AGAIN}"
        raise InputError(detail, path, "damaged") from None


def itk_grid(path: Path, header: bytes) -> SourceGrid:
    """Return the grid that SimpleITK reads from a NIfTI header; InputError if it cannot.

    `header` is a header of our own, without voxels: nothing else of `path` is given to ITK.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    warnings = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # notes on header style, many lines each
    with plain_folder() as folder:
        alone = folder / "header.nii"
        alone.write_bytes(header)
        reader.SetFileName(str(alone))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise_if_out_of_memory(error, path)
            why = [line.strip() for line in str(error).replace(str(alone), path.name).splitlines() if line.strip()]
            shown = ascii(why[-1].removeprefix("ITK ERROR: "))[1:-1][:200]
            raise InputError(f"the header cannot be used ({shown}); correct it or {AGAIN}", path) from None
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(warnings)
    if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
        raise not_one_image(path, reader.GetSize(), sitk.GetPixelIDValueAsString(reader.GetPixelID()))
    return SourceGrid(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())


def _file_slabs(path: Path, layout: FileLayout) -> Iterator[np.ndarray]:
    columns, rows, planes = layout.size
    plane_bytes = layout.data_bytes // planes
    per_slab = max(1, min(_PLANES_PER_SLAB, _SLAB_BYTES // plane_bytes, planes))
    buffer = np.empty((per_slab, rows, columns), layout.dtype)
    bad = 0
    with opened(path) as file:
        file.seek(layout.start)
        stream = ByteStream(file, layout.encoding, path)
        done = stream.skip(layout.skip)
        for first in range(0, planes, per_slab):
            slab = buffer[: planes - first]
            count = stream.read_into(slab.reshape(-1).view(np.uint8).data)
            done += count
            if count < slab.nbytes:
                detail = f"the file is truncated ({done} of {layout.skip + layout.data_bytes} bytes, inflated); {AGAIN}"
                raise InputError(detail, path, "truncated")
            values = _in_units(slab, layout)
            if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
                bad += values.size - int(np.count_nonzero(finite))
                values[~finite] = 0
            yield values
        stream.finish(SLACK_BYTES)
    if bad:
        detail = f"{bad} voxels are NaN or infinite; expected numbers; repair or leave out the case"
        raise InputError(detail, path, "not_finite")


def _in_units(stored: np.ndarray, layout: FileLayout) -> np.ndarray:
    if not layout.is_scaled:
        return stored.astype(layout.value_dtype, copy=False)
    scaled = np.empty(stored.shape, layout.value_dtype)
    with np.errstate(over="ignore"):  # counted as infinite
        for plane, out in zip(stored, scaled, strict=True):  # plane by plane, because doubles take much memory
            out[...] = plane.astype(np.float64) * layout.slope + layout.intercept
    return scaled
