"""The grid of a file's voxels in millimeters, its axes relative to the patient, and the comparison of two grids."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np

from data_prep.errors import InputError
from data_prep.geometry.types import triple

GRID_TOLERANCE = 0.1  # of the smallest voxel edge
_SMALLEST_MM, _LARGEST_MM = 1e-6, 1e9  # what is beyond is no length, and no volume can be computed of it
_RIGHT_ANGLE_TOLERANCE = 1e-4  # of a direction's dot products; text headers round to about 1e-6


@dataclass(frozen=True)
class SourceGrid:
    """Where the voxels of a file lie, in the file's axis order and SimpleITK's conventions (x fastest, LPS mm).

    Axial order is [z, y, x], where z ascends to superior, y to posterior, x to left (the nearest axes if oblique).
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]  # mm
    origin: tuple[float, ...]  # mm, center of the first voxel
    direction: tuple[float, ...]  # 3 x 3, row by row; column i is the direction of axis i

    @property
    def orientation(self) -> str:
        """Three letters for the directions of the axes, such as `LPS`; KiTS files are `IPL`."""
        import SimpleITK as sitk

        return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(self.direction)

    @property
    def axial_shape(self) -> tuple[int, int, int]:
        """The shape (z, y, x) of the voxels in axial order."""
        return triple(self.size[axis] for axis in self._axes)

    @property
    def axial_spacing_mm(self) -> tuple[float, float, float]:
        """The spacing (z, y, x) of the voxels in axial order."""
        return triple(self.spacing[axis] for axis in self._axes)

    @property
    def axial(self) -> SourceGrid:
        """The grid of the voxels in axial order: equal for files that differ only in their axis order."""
        size, spacing = self.axial_shape[::-1], self.axial_spacing_mm[::-1]
        direction = np.reshape(self.direction, (3, 3))[:, self._axes[::-1]]
        origin = np.array(self.origin, float)
        for axis in (2 - flip for flip in _axial_axes(self.direction)[1]):
            origin += direction[:, axis] * (size[axis] - 1) * spacing[axis]
            direction[:, axis] *= -1
        return SourceGrid(size, spacing, tuple(origin.tolist()), tuple(direction.ravel().tolist()))

    @property
    def _axes(self) -> list[int]:
        return [2 - axis for axis in _axial_axes(self.direction)[0]]  # of the file, from the fastest, for z, y, x

    def to_axial(self, stored: np.ndarray) -> np.ndarray:
        """Return a view in axial order [z, y, x] of an array in the file's axis order [k, j, i]."""
        order, flips = _axial_axes(self.direction)
        return np.flip(stored.transpose(order), flips)

    def to_stored(self, axial: np.ndarray) -> np.ndarray:
        """Return a view in the file's axis order [k, j, i] of an array in axial order; ValueError for another shape."""
        if axial.shape != self.axial_shape:
            raise ValueError(f"the array has the shape {axial.shape}, its source has {self.axial_shape} (z, y, x)")
        order, flips = _axial_axes(self.direction)
        return np.flip(axial, flips).transpose(np.argsort(order))


def same_grid(a: SourceGrid, b: SourceGrid) -> bool:
    """Return whether two files share one grid: equal sizes and no corner apart by more than a tenth of a voxel.

    The tenth (of the smallest edge of `a`'s voxels) tolerates the rounding of file headers and nothing more.
    """
    return a.size == b.size and bool(corners_apart_mm(a, b) <= GRID_TOLERANCE * min(a.spacing))


def corners_apart_mm(a: SourceGrid, b: SourceGrid) -> float:
    """Return the largest distance between equal corners of two grids; NaN if a grid holds NaN."""
    return float(np.linalg.norm(_corners_mm(a) - _corners_mm(b), axis=1).max())


def check_grid(grid: SourceGrid, path: Path) -> None:
    """Raise InputError unless spacing and origin are lengths, spacing is positive and the axes are at right angles."""
    found = " x ".join(f"{mm:g}" for mm in grid.spacing)
    if not all(np.isfinite(mm) and mm > 0 for mm in grid.spacing):
        raise InputError(f"the voxel spacing is {found} mm; expected positive numbers; correct the header", path)
    if not all(_SMALLEST_MM <= mm <= _LARGEST_MM for mm in grid.spacing):
        raise InputError(f"the voxel spacing is {found} mm; expected that of a CT; correct the header", path)
    if not np.isfinite([*grid.origin, *grid.direction]).all() or np.abs(grid.origin).max() > _LARGEST_MM:
        raise InputError("origin or direction is NaN, infinite or huge; expected numbers; correct the header", path)
    axes = np.reshape(grid.direction, (3, 3))
    if np.abs(axes.T @ axes - np.eye(3)).max() > _RIGHT_ANGLE_TOLERANCE:
        problem = "the axes are sheared or not of unit length (gantry tilt?); expected axes at right angles"
        raise InputError(f"{problem}; resample the image to such a grid", path)


@lru_cache(maxsize=64)
def _axial_axes(direction: tuple[float, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (order, flips): `np.flip(array.transpose(order), flips)` brings a file's array into axial order.

    SimpleITK decides, on one voxel, so reading and writing agree even if an oblique axis is equally near to two others.
    """
    import SimpleITK as sitk

    voxel = sitk.Image([1, 1, 1], sitk.sitkUInt8)
    voxel.SetDirection(direction)
    orient = sitk.DICOMOrientImageFilter()
    orient.SetDesiredCoordinateOrientation("LPS")
    orient.Execute(voxel)
    # SimpleITK counts axes from the fastest, numpy from the slowest
    order = tuple(2 - axis for axis in reversed(orient.GetPermuteOrder()))
    flips = tuple(2 - axis for axis, flip in enumerate(orient.GetFlipAxes()) if flip)
    return order, flips


def _corners_mm(grid: SourceGrid) -> np.ndarray:
    # [8, 3]; outer corners, not voxel centers: so the spacing also counts along an axis of one voxel
    index = np.array(list(product(*((-0.5, n - 0.5) for n in grid.size))))
    direction = np.reshape(grid.direction, (3, 3))
    return np.asarray(grid.origin) + (index * grid.spacing) @ direction.T
