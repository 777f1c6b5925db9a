"""A CT from a folder of DICOM files; `python -m data_prep.dicom FOLDER` lists its series."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_prep.dicom.headers import SliceHeader, scan_folder
from data_prep.dicom.series import Series, choose_series, files_named
from data_prep.dicom.stacking import stack
from data_prep.errors import InputError
from data_prep.formats.gzip_stream import AGAIN
from data_prep.formats.image_source import VoxelSource, check_size
from data_prep.geometry.source_grid import SourceGrid, check_grid

_MOST_PIXELS = 8192 * 8192  # of a slice
_HU_TYPES = ("", "HU", "US")  # RescaleType: absent, Hounsfield units, unspecified


def open_dicom(folder: Path, series: str | int | None = None) -> VoxelSource:
    """Read the headers of a folder of DICOM files and stack one CT series; its voxels are int16 HU.

    Slices are ordered by their position along the normal, never by number or name. InputError unless they fill one grid
    of right angles: a gap, two slices in one place, uneven spacing, gantry tilt, and mixed sizes, spacings or
    orientations are refused, each in words of its own. Errors and notes hold nothing that identifies a patient; the
    folder's path is the caller's own.
    """
    scan = scan_folder(folder)
    chosen, notes = choose_series(scan, folder, series)
    where = f"{folder}: series {chosen.number} ({chosen.key})"
    if scan.damaged:
        where += f", in a folder with damaged DICOM ({files_named(scan.damaged)}),"
    notes += _check_values(chosen, where)
    ordered, grid = stack(chosen.images, where)
    check_size(folder, grid.size, 2)
    check_grid(grid, folder)
    return VoxelSource(folder, grid, np.dtype(np.int16), lambda: _slices(ordered, grid, where), notes)


def _check_values(series: Series, where: str) -> tuple[str, ...]:
    """Check what the voxels mean; return notes. InputError for anything but gray values in HU."""
    images = series.images
    colored = [image.file for image in images if image.samples != 1]
    if colored:
        raise InputError(
            f"{where}: {len(colored)} slices are in color; expected one value per voxel; export the CT itself"
        )
    units = sorted({image.units for image in images} - set(_HU_TYPES))
    if units:
        raise InputError(f"{where}: values are no HU (their RescaleType is another); expected HU; export the CT itself")
    scales = [number for image in images for number in (image.slope, image.intercept) if number is not None]
    if 0 in [image.slope for image in images] or not all(map(math.isfinite, scales)):
        raise InputError(f"{where}: RescaleSlope or RescaleIntercept is no number or 0; expected numbers; {AGAIN}")
    for image in images:
        pixels = math.prod(image.size)
        if pixels > _MOST_PIXELS or image.bits not in (8, 16, 32):
            columns, rows = image.size
            raise InputError(
                f"{where}: file number {image.file} in the order of names claims {columns} x {rows} pixels of "
                f"{image.bits} bits; expected a CT slice; {AGAIN}"
            )
    unscaled = sum(image.slope is None or image.intercept is None for image in images)
    notes = [f"{unscaled} slices name no RescaleSlope or RescaleIntercept: taken for 1 and 0"] if unscaled else []
    unknown = sum(image.units == "US" for image in images)
    notes += [f"{unknown} slices leave the unit of their values open: taken for HU"] if unknown else []
    return tuple(notes)


def _slices(ordered: Sequence[SliceHeader], grid: SourceGrid, where: str) -> Iterator[np.ndarray]:
    import SimpleITK as sitk

    limits = np.iinfo(np.int16)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    for image in ordered:
        warnings = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            reader.SetFileName(os.fspath(image.path))
            values = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError:  # its text holds the file's name
            values = np.empty(0)
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(warnings)
        if values.shape != (1, *grid.size[1::-1]):
            raise InputError(
                f"{where}: the pixels of file number {image.file} in the order of names cannot be read; the file is "
                f"truncated or damaged, or packed in an unusual way; {AGAIN}"
            )
        yield values if values.dtype == np.int16 else np.clip(np.rint(values), limits.min, limits.max).astype(np.int16)
