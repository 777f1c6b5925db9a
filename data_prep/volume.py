"""CT and label volumes with their geometry: read any supported file, write labels on the grid of their source."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.datasets.hints import ARCHIVES
from data_prep.errors import NO_MEMORY, InputError
from data_prep.formats.hu_and_labels import HounsfieldReader, LabelReader
from data_prep.formats.image_source import FILE_ENDINGS, VoxelSource
from data_prep.geometry.source_grid import SourceGrid
from data_prep.geometry.volume import StoredImage, Volume

if TYPE_CHECKING:
    from data_prep.dicom.reader import DicomSeries


def read_volume(path: str | Path | DicomSeries, series: str | int | None = None) -> Volume:
    """Read a CT image as int16 HU in axial order.

    Fractions are rounded to whole HU; values beyond int16 are clipped, with a note. The file is read once, and needs
    less than 200 MB of memory besides the voxels.

    Args:
        path: a `.nii.gz`, `.nii`, `.nrrd` or `.mha` file, a folder of DICOM files, or what `open_series` made of one.
        series: number or key (see `data_prep.dicom.list_series`) of one series of a DICOM folder; None: the axial CT
            with most slices.

    Raises:
        InputError: a missing, truncated or damaged file, anything but one 3-D scalar image (a fourth axis of length 1
            is dropped), an invalid geometry, NaN or infinity.
        MemoryError: memory is short; the file may be sound.
    """
    reader = HounsfieldReader()
    volume = _in_axial_order(_open(path, series), np.dtype(np.int16), reader)
    return replace(volume, notes=volume.notes + reader.notes())


def read_labels(path: str | Path) -> Volume:
    """Read a label map as uint8 in axial order: 0 background, 1 kidney, 2 tumor, 3 cyst.

    A `.dcm` file is read as a DICOM Segmentation, see `read_dicom_seg`. Where a `.seg.nrrd` file of 3D Slicer or a
    NIfTI file with a label table (TotalSegmentator, Caret) names its labels, these names and codes decide
    (`labels.label_of`), not the numbers. Whole numbers that were stored with a slope under .02 are rounded back. Both
    give a note. InputError as for `read_volume`, for any value that is not one of these four, and for voxels of a
    segment that is none of kidney, tumor and cyst.
    """
    if Path(path).suffix.lower() == ".dcm" and Path(path).is_file():
        from data_prep.dicom.seg_reader import read_dicom_seg

        return read_dicom_seg(path)
    source = _open(path)
    reader = LabelReader(source)
    volume = _in_axial_order(source, np.dtype(np.uint8), reader)
    return replace(volume, notes=volume.notes + reader.notes())


def read_image(path: str | Path, series: str | int | None = None) -> StoredImage:
    """Read an image in its own axis order and number type; otherwise as `read_volume`."""
    source = _open(path, series)
    values = _empty(source, source.grid.size[::-1], source.dtype)
    _fill(source, values, lambda slab, out: np.copyto(out, slab))
    return StoredImage(values, source.grid, source.path, source.notes)


def read_grid(path: str | Path) -> SourceGrid:
    """Return the grid of an image from its header alone; InputError as for `read_image`."""
    return _open(path).grid


def check_whole(path: str | Path) -> None:
    """Read a file to its end and keep nothing; InputError as for `read_image`."""
    for _ in _open(path).slabs():
        pass


def write_labels(labels_zyx: np.ndarray, like: SourceGrid, path: str | Path) -> None:
    """Write labels [z, y, x] (axial order, as `read_volume` gives it) as uint8 on the grid `like` of their source.

    The file appears whole, read back and compared, or not at all. `path` ends in `.nii.gz`, `.nrrd` or `.mha`
    (compressed) or `.nii`, also for a DICOM source. NRRD and NIfTI files also get names and colors of the labels, which
    3D Slicer shows for `.seg.nrrd`. ValueError for another shape than the source's.
    """
    from data_prep.formats.image_writer import write_image

    path = Path(path)
    _check_name(path)
    write_image(like.to_stored(np.asarray(labels_zyx).astype(np.uint8, copy=False)), like, path, names=True)


def is_label_file(path: str | Path) -> bool:
    """Return whether a file is a label map, or what is left of one: a command may replace it if the user says so."""
    try:
        source = _open(path)
    except InputError as error:
        return error.code == "empty_file"
    try:
        read_labels(path)
    except InputError as error:
        return error.code in ("truncated", "damaged") and source.dtype == np.uint8
    return True


def _open(path: str | Path | DicomSeries, series: str | int | None = None) -> VoxelSource:
    if not isinstance(path, (str, Path)):
        from data_prep.dicom.reader import open_dicom

        return open_dicom(path)
    path = Path(path)
    if not os.path.exists(path):  # also false if a folder on the way must not be entered
        raise InputError("no such file or folder, or it may not be read", path, "no_such_file")
    if not (path.is_file() or path.is_dir()):
        expected = "expected an image file or a folder of DICOM files"
        raise InputError(f"neither a file nor a folder; {expected}", path, "not_a_file")
    if path.is_dir() and not path.name.endswith(FILE_ENDINGS):
        from data_prep.dicom.reader import open_dicom, open_series

        return open_dicom(open_series(path, series))
    _check_name(path)
    if series is not None:
        raise InputError("is one image; a series can only be chosen in a folder of DICOM files", path)
    if path.name.endswith(".nrrd"):
        from data_prep.formats.nrrd import open_nrrd as open_file
    elif path.name.endswith(".mha"):
        from data_prep.formats.metaimage import open_metaimage as open_file
    elif path.name.endswith((".nii.gz", ".nii")):
        from data_prep.formats.nifti import open_nifti as open_file
    else:
        raise ValueError(f"{path}: one of FILE_ENDINGS has no reader")
    return open_file(path)


def _check_name(path: Path) -> None:
    endings = ", ".join(FILE_ENDINGS)
    if path.is_dir():
        raise InputError(f"is a folder; expected a file, {endings}", path, "not_a_file")
    if path.name.lower().endswith(ARCHIVES):
        problem = "is an archive; unpack it"
    elif path.name.endswith((".nhdr", ".mhd", ".hdr", ".img")):
        problem = "keeps header and voxels in two files; expected one file; convert it to .nii.gz"
    elif path.suffix.lower() in (".dcm", ".ima"):
        problem = "is one DICOM file; expected the folder with all slices of the series"
    else:
        problem = f"the name does not end in {endings}; expected an image file"
    if not path.name.endswith(FILE_ENDINGS):
        raise InputError(problem, path, "wrong_name")


def _in_axial_order(source: VoxelSource, dtype: np.dtype, convert: Callable[[np.ndarray, np.ndarray], None]) -> Volume:
    grid = source.grid
    voxels = _empty(source, grid.axial_shape, dtype)
    _fill(source, grid.to_stored(voxels), convert)
    return Volume(voxels, grid.axial_spacing_mm, grid, source.path, source.notes, source.dicom)


def _empty(source: VoxelSource, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    try:
        return np.empty(shape, dtype)
    except MemoryError:
        size = " x ".join(str(n) for n in shape)
        raise MemoryError(f"{source.path}: for {size} voxels of {dtype.itemsize} bytes: {NO_MEMORY}") from None


def _fill(source: VoxelSource, stored: np.ndarray, convert: Callable[[np.ndarray, np.ndarray], None]) -> None:
    first = 0
    for slab in source.slabs():
        convert(slab, stored[first : first + len(slab)])
        first += len(slab)
