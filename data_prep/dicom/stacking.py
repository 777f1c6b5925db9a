"""Slices of a DICOM series, stacked by their positions, and the grid that they fill."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.dicom.headers import SliceHeader
from data_prep.dicom.series import files_named
from data_prep.errors import InputError
from data_prep.formats.gzip_stream import AGAIN
from data_prep.geometry.source_grid import GRID_TOLERANCE, SourceGrid

_SAME = 1e-4  # mm, or of a unit vector: rounding in headers


@dataclass(frozen=True)
class _Placed:
    """A slice whose header tells where it lies; millimeters, LPS."""

    header: SliceHeader
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]


def stack(images: Sequence[SliceHeader], where: str) -> tuple[list[SliceHeader], SourceGrid]:
    """Return the slices by ascending position along their normal, and the grid that they fill; InputError if none.

    A position may be off the grid by a tenth of the slice spacing, and sideways by a tenth of a pixel.
    """
    if len(images) < 2:
        raise InputError(f"{where} has one slice, and one has no spacing; expected 2 or more")
    placed = [place for image in images if (place := _placed(image)) is not None]
    if len(placed) < len(images):
        known = {place.header.file for place in placed}
        lost = [image.file for image in images if image.file not in known]
        raise InputError(
            f"{where}: {len(lost)} of {len(images)} slices lack position, orientation (unit vectors at a right angle) "
            f"or pixel spacing ({files_named(lost)}); expected all three; export the series anew"
        )
    _check_one(where, "sizes", [image.size for image in images], 0)
    _check_one(where, "pixel spacings", [place.pixel_spacing for place in placed], _SAME)
    _check_one(where, "orientations", [place.orientation for place in placed], _SAME)
    row, column = (np.array(axis) for axis in (placed[0].orientation[:3], placed[0].orientation[3:]))
    normal = np.cross(row, column)
    ordered = sorted(placed, key=lambda place: float(normal @ place.position))
    positions = np.array([place.position for place in ordered])
    along = positions @ normal
    between_rows, between_columns = placed[0].pixel_spacing
    spacing = _even_spacing(along, where)
    _no_tilt(positions, along, normal, min(between_rows, between_columns), where)
    direction = np.column_stack([row, column, normal])
    size = (*images[0].size, len(images))
    grid = SourceGrid(
        size, (between_columns, between_rows, spacing), ordered[0].position, tuple(direction.ravel().tolist())
    )
    return [place.header for place in ordered], grid


def _placed(image: SliceHeader) -> _Placed | None:
    if not (image.position and image.orientation and image.pixel_spacing) or min(image.pixel_spacing) <= 0:
        return None
    axes = np.reshape(image.orientation, (2, 3))
    if not np.abs(axes @ axes.T - np.eye(2)).max() <= _SAME:
        return None
    return _Placed(image, image.position, image.orientation, image.pixel_spacing)


def _check_one(where: str, what: str, values: Sequence[tuple[float, ...]], tolerance: float) -> None:
    if np.abs(np.subtract(values, values[0])).max() > tolerance:
        counts = Counter(" x ".join(f"{number:g}" for number in value) for value in values).most_common()
        found = ", ".join(f"{value} ({count} slices)" for value, count in counts[:3]) + (", ..." if counts[3:] else "")
        raise InputError(f"{where} mixes {what}: {found}; expected one; export the slices of one scan alone")


def _even_spacing(along: np.ndarray, where: str) -> float:
    steps = np.diff(along)
    moved = steps[steps > 1e-3]
    usual = float(np.median(moved)) if moved.size else 0.0
    doubled = np.flatnonzero(steps <= max(0.01 * usual, 1e-3))
    if doubled.size:
        raise InputError(
            f"{where}: {doubled.size} slices lie where another does (the first at {along[doubled[0]]:.2f} mm); "
            "expected one at each position; remove copies, or export one phase alone"
        )
    times = np.rint(steps / usual)
    gaps = np.flatnonzero((times >= 2) & (np.abs(steps / usual - times) < GRID_TOLERANCE))
    if gaps.size:
        found = ", ".join(f"{int(times[gap]) - 1} after {along[gap]:.2f} mm" for gap in gaps[:3])
        raise InputError(
            f"{where}: {int((times[gaps] - 1).sum())} slices are missing ({found}{', ...' if gaps[3:].size else ''}; "
            f"the others are {usual:.3g} mm apart); expected none; {AGAIN}"
        )
    even = np.linspace(along[0], along[-1], len(along))
    if np.abs(along - even).max() > GRID_TOLERANCE * usual:
        raise InputError(
            f"{where}: slices are {steps.min():.3g} to {steps.max():.3g} mm apart; expected even spacing; resample "
            "the series, or export the part with one spacing"
        )
    return float(along[-1] - along[0]) / len(steps)


def _no_tilt(positions: np.ndarray, along: np.ndarray, normal: np.ndarray, pixel_mm: float, where: str) -> None:
    moved = positions - positions[0]
    sideways = moved - np.outer(along - along[0], normal)
    if np.linalg.norm(sideways, axis=1).max() <= GRID_TOLERANCE * pixel_mm:
        return
    share = (along - along[0]) / (along[-1] - along[0])
    if np.abs(sideways - np.outer(share, sideways[-1])).max() <= GRID_TOLERANCE * pixel_mm:
        degrees = math.degrees(math.atan2(float(np.linalg.norm(sideways[-1])), along[-1] - along[0]))
        raise InputError(
            f"{where}: the gantry was tilted by {degrees:.1f} degrees, so slices are not stacked at right angles; "
            "resample the series to such a grid (dcm2niix does)"
        )
    raise InputError(
        f"{where}: slices are shifted sideways by up to {np.linalg.norm(sideways, axis=1).max():.3g} mm; expected them "
        "above each other; export the slices of one scan alone"
    )
