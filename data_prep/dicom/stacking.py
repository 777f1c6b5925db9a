"""Slices of a DICOM series, stacked by their positions, and the grid that they fill."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.dicom.headers import SliceHeader, files_named
from data_prep.errors import InputError
from data_prep.formats.gzip_stream import AGAIN
from data_prep.geometry.source_grid import GRID_TOLERANCE, SourceGrid

_ROUNDED_MM = (1.0, 0.5, 0.1)  # what exporters round positions to
_MANY = 0.15  # of the steps: fewer are slices that are missing or doubled
SAME = 1e-4  # mm, or of a unit vector: rounding in headers


def stack(images: Sequence[SliceHeader], name: str, folder: Path) -> tuple[list[SliceHeader], SourceGrid]:
    """Return the slices of a series by ascending position along their normal, and the grid that they fill.

    A position may be off the grid by a tenth of the slice spacing, and sideways by a tenth of a pixel. InputError with
    `name` and `folder` if the slices fill no grid; its code is `missing_slices` for gaps.
    """
    try:
        return _stack(images)
    except InputError as error:
        raise InputError(f"{name}: {error.detail}", folder, error.code) from None


def _stack(images: Sequence[SliceHeader]) -> tuple[list[SliceHeader], SourceGrid]:
    if len(images) < 2:
        raise InputError("one slice, so there is no spacing; expected 2 or more")
    if lost := [image.file for image in images if not _is_placed(image)]:
        raise InputError(
            f"{len(lost)} of {len(images)} slices lack position, orientation (unit vectors at a right angle) "
            f"or pixel spacing ({files_named(lost)}); expected all three; export the series again"
        )
    _check_one("sizes", [image.size for image in images], 0)
    _check_one("pixel spacings", [image.pixel_spacing for image in images], SAME)
    _check_one("orientations", [image.orientation for image in images], SAME)
    row, column = np.reshape(np.array(images[0].orientation), (2, 3))
    normal = np.cross(row, column)
    ordered = sorted(images, key=lambda image: float(normal @ np.array(image.position)))
    positions = np.array([image.position for image in ordered])
    along = positions @ normal
    between_rows, between_columns = np.array(images[0].pixel_spacing).tolist()
    spacing = (between_columns, between_rows, _even_spacing(along))
    _check_no_tilt(positions, along, normal, min(between_rows, between_columns))
    direction = np.column_stack([row, column, normal]).ravel().tolist()
    return ordered, SourceGrid((*images[0].size, len(images)), spacing, tuple(positions[0].tolist()), tuple(direction))


def _is_placed(image: SliceHeader) -> bool:
    if not (image.position and image.orientation and image.pixel_spacing) or min(image.pixel_spacing) <= 0:
        return False
    axes = np.reshape(image.orientation, (2, 3))
    return bool(np.abs(axes @ axes.T - np.eye(2)).max() <= SAME)


def _check_one(what: str, values: Sequence[tuple[float, ...] | None], tolerance: float) -> None:
    numbers = np.array(values, float)
    if np.abs(numbers - numbers[0]).max() > tolerance:
        counts = Counter(" x ".join(f"{number:g}" for number in value) for value in numbers).most_common()
        found = ", ".join(f"{value} ({count} slices)" for value, count in counts[:3]) + (", ..." if counts[3:] else "")
        raise InputError(f"mixed {what}: {found}; expected one; export the slices of one scan alone")


def _even_spacing(along: np.ndarray) -> float:
    steps = np.diff(along)
    moved = steps[steps > 1e-3]
    usual = float(np.median(moved)) if moved.size else 0.0
    if unit := _rounded_to(along, steps):
        found = f"slice positions are rounded to {unit:g} mm ({steps.min():g} to {steps.max():g} mm apart, on average"
        found += f" {steps.mean():.3g})"
        raise InputError(f"{found}; expected positions with their decimals; export the series again, or resample it")
    doubled = np.flatnonzero(steps <= max(0.01 * usual, 1e-3))
    if doubled.size:
        raise InputError(
            f"{doubled.size} slices are in the place of another (the first at {along[doubled[0]]:.2f} mm); "
            "expected one per position; remove copies, or export one phase alone"
        )
    times = np.rint(steps / usual)
    gaps = np.flatnonzero((times >= 2) & (np.abs(steps / usual - times) < GRID_TOLERANCE))
    if gaps.size:
        found = ", ".join(f"{int(times[gap]) - 1} after {along[gap]:.2f} mm" for gap in gaps[:3])
        found += ", ..." if gaps[3:].size else ""
        detail = f"{int((times[gaps] - 1).sum())} slices are missing ({found}; the others are {usual:.3g} mm apart)"
        raise InputError(f"{detail}; expected no gap; {AGAIN}", code="missing_slices")
    if np.abs(along - np.linspace(along[0], along[-1], len(along))).max() > GRID_TOLERANCE * usual:
        raise InputError(
            f"slices are {steps.min():.3g} to {steps.max():.3g} mm apart; expected even spacing; resample "
            "the series, or export the part with one spacing"
        )
    return float(along[-1] - along[0]) / len(steps)


def _rounded_to(along: np.ndarray, steps: np.ndarray) -> float | None:
    """Return the unit to which positions of evenly spaced slices were rounded, if that moves them off their grid."""
    off = np.abs(along - np.linspace(along[0], along[-1], len(along))).max()
    if off <= GRID_TOLERANCE * steps.mean():
        return None
    for unit in _ROUNDED_MM:
        in_units = np.rint(steps / unit)
        if np.abs(along / unit - np.rint(along / unit)).max() < SAME and np.ptp(in_units) == 1 and off <= unit:
            counts = np.unique(in_units, return_counts=True)[1]
            if counts.min() >= _MANY * len(steps):
                return unit
    return None


def _check_no_tilt(positions: np.ndarray, along: np.ndarray, normal: np.ndarray, pixel_mm: float) -> None:
    sideways = positions - positions[0] - np.outer(along - along[0], normal)
    most_mm = np.linalg.norm(sideways, axis=1).max()
    if most_mm <= GRID_TOLERANCE * pixel_mm:
        return
    share = (along - along[0]) / (along[-1] - along[0])
    if np.abs(sideways - np.outer(share, sideways[-1])).max() <= GRID_TOLERANCE * pixel_mm:
        degrees = math.degrees(math.atan2(float(np.linalg.norm(sideways[-1])), along[-1] - along[0]))
        raise InputError(
            f"the gantry was tilted by {degrees:.1f} degrees, so slices are not stacked at right angles; "
            "resample the series to such a grid (dcm2niix does)"
        )
    raise InputError(
        f"slices are shifted sideways by up to {most_mm:.3g} mm; expected them above each other; export the slices of "
        "one scan alone"
    )
