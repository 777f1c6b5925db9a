"""One CT series of a folder of DICOM files: its slices in order, their grid, and their voxels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.dicom.headers import SliceHeader, files_named, scan_folder
from data_prep.dicom.series import choose_series
from data_prep.dicom.stacking import stack
from data_prep.errors import InputError
from data_prep.files.plain_paths import plain_path
from data_prep.files.quiet import quiet_stderr
from data_prep.formats.gzip_stream import AGAIN
from data_prep.formats.image_source import VoxelSource, check_size
from data_prep.geometry.source_grid import SourceGrid, check_grid

_MOST_PIXELS = 8192 * 8192  # of a slice
_HU_TYPES = ("", "HU", "US")  # RescaleType: absent, Hounsfield units, unspecified


@dataclass(frozen=True)
class DicomSeries:
    """A CT series with its headers, which are read once: `read_volume` and `write_dicom_seg` take them from here."""

    folder: Path
    name: str  # number and key, for errors
    slices: tuple[SliceHeader, ...] = field(repr=False)  # in the order of the grid's last axis
    grid: SourceGrid
    notes: tuple[str, ...] = ()  # one line per decision of the reader


def open_series(folder: str | Path, series: str | int | None = None, *, for_seg: bool = False) -> DicomSeries:
    """Read the headers of a folder of DICOM files and stack one CT series by the positions of its slices.

    Errors and notes hold nothing that identifies a patient; the folder's path is the caller's own.

    Args:
        folder: of DICOM files; its subfolders are read, links are not followed.
        series: number or key, see `list_series`; None chooses the axial CT with most slices.
        for_seg: keep the whole headers, so that `write_dicom_seg` need not read them again; they identify the patient.

    Raises:
        InputError: no DICOM image (code `no_dicom`), missing slices (`missing_slices`), two slices in one place, uneven
            spacing, gantry tilt, mixed sizes, spacings or orientations, values that are not HU.
    """
    scan = scan_folder(folder, whole=for_seg)
    chosen, notes = choose_series(scan, series)
    name = f"series {chosen.number} ({chosen.key})"
    if scan.damaged:
        name += f", in a folder with damaged DICOM ({files_named(scan.damaged)})"
    if problem := _problem_of_values(chosen.images):
        raise InputError(f"{name}: {problem}", scan.folder)
    ordered, grid = stack(chosen.images, name, scan.folder)
    check_size(scan.folder, grid.size, 2)
    check_grid(grid, scan.folder)
    return DicomSeries(scan.folder, name, tuple(ordered), grid, (*notes, *_notes_of_values(chosen.images)))


def open_dicom(series: DicomSeries) -> VoxelSource:
    """Return the voxels of a series as int16 HU, to be read slice by slice."""
    dtype = np.dtype(np.int16)
    return VoxelSource(series.folder, series.grid, dtype, lambda: _planes(series), series.notes, dicom=series)


def _problem_of_values(images: Sequence[SliceHeader]) -> str:
    """Return why the voxels are not gray values in HU; empty if they are."""
    scales = [number for image in images for number in (image.slope, image.intercept) if number is not None]
    if colored := sum(image.samples != 1 for image in images):
        return f"{colored} slices are in color; expected one value per voxel; export the CT itself"
    if {image.units for image in images} - set(_HU_TYPES):
        return "values are not HU (their RescaleType is another); expected HU; export the CT itself"
    if 0 in [image.slope for image in images] or not all(map(math.isfinite, scales)):
        return f"RescaleSlope or RescaleIntercept is 0 or not a number; expected numbers; {AGAIN}"
    for image in images:
        if math.prod(image.size) > _MOST_PIXELS or image.bits not in (8, 16, 32):
            claim = f"{image.size[0]} x {image.size[1]} pixels of {image.bits} bits"
            return f"{files_named([image.file])} claims {claim}; expected a CT slice; {AGAIN}"
    return ""


def _notes_of_values(images: Sequence[SliceHeader]) -> list[str]:
    unscaled = sum(image.slope is None or image.intercept is None for image in images)
    notes = [f"{unscaled} slices have no RescaleSlope or RescaleIntercept: 1 and 0 assumed"] if unscaled else []
    unknown = sum(image.units == "US" for image in images)
    return notes + ([f"{unknown} slices do not specify the unit of their values: HU assumed"] if unknown else [])


def _planes(series: DicomSeries) -> Iterator[np.ndarray]:
    import SimpleITK as sitk

    limits = np.iinfo(np.int16)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    for image in series.slices:
        warnings = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            with plain_path(image.path) as path, quiet_stderr():
                reader.SetFileName(path)
                values = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError:  # its text holds the file's name
            values = np.empty(0)
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(warnings)
        if values.shape != (1, *series.grid.size[1::-1]):
            pixels = f"the pixels of {files_named([image.file])} cannot be read"
            problem = f"{pixels}; the file is truncated or damaged, or packed in an unusual way; {AGAIN}"
            raise InputError(f"{series.name}: {problem}", series.folder, "truncated")
        yield values if values.dtype == np.int16 else np.clip(np.rint(values), limits.min, limits.max).astype(np.int16)
