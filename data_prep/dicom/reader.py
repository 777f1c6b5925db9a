"""One CT series of a folder of DICOM files: its slices in order, their grid, and their voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.dicom.choice import choose_series
from data_prep.dicom.headers import FolderScan, SliceHeader, files_named, scan_folder
from data_prep.dicom.pixels import PixelError, problem_of_values, read_hu
from data_prep.dicom.stacking import stack
from data_prep.errors import InputError
from data_prep.formats.image_source import VoxelSource, check_size
from data_prep.geometry.source_grid import SourceGrid, check_grid


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
        series: number or key, see `list_series`; None chooses one, see `choose_series`.
        for_seg: keep the whole headers, so that `write_dicom_seg` need not read them again; they identify the patient.

    Raises:
        InputError: no DICOM image (code `no_dicom`), missing slices (`missing_slices`), two slices in one place, uneven
            spacing, gantry tilt, mixed sizes, spacings or orientations, values that are not HU.
    """
    return series_in(scan_folder(folder, whole=for_seg), series)


def series_in(scan: FolderScan, series: str | int | None = None) -> DicomSeries:
    """Return one CT series of headers that are read, as `open_series` does; errors as there."""
    chosen, notes = choose_series(scan, series)
    name = f"series {chosen.number} ({chosen.key})"
    if scan.unread:
        name += f", in a folder with files that are not read ({scan.reasons})"
    if problem := problem_of_values(chosen.images):
        raise InputError(f"{name}: {problem}", scan.folder)
    ordered, grid = stack(chosen.images, name, scan.folder)
    check_size(scan.folder, grid.size, 2)
    check_grid(grid, scan.folder)
    return DicomSeries(scan.folder, name, tuple(ordered), grid, (*notes, *_notes_of_values(chosen.images)))


def open_dicom(series: DicomSeries) -> VoxelSource:
    """Return the voxels of a series as int16 HU, to be read slice by slice."""
    dtype = np.dtype(np.int16)
    return VoxelSource(series.folder, series.grid, dtype, lambda: _planes(series), series.notes, dicom=series)


def _notes_of_values(images: Sequence[SliceHeader]) -> list[str]:
    unscaled = sum(image.slope is None or image.intercept is None for image in images)
    notes = [f"{unscaled} slices have no RescaleSlope or RescaleIntercept: 1 and 0 assumed"] if unscaled else []
    unknown = sum(image.units == "US" for image in images)
    return notes + ([f"{unknown} slices do not specify the unit of their values: HU assumed"] if unknown else [])


def _planes(series: DicomSeries) -> Iterator[np.ndarray]:
    for image in series.slices:
        try:
            yield read_hu(image)[None]
        except PixelError as error:
            problem = f"the pixels of {files_named([image.file])} cannot be read: {error}; {error.remedy}"
            raise InputError(f"{series.name}: {problem}", series.folder, error.code) from None
