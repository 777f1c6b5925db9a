"""Where a file's voxels lie: its grid in millimeters, its axes against the patient's, and whether two grids are one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np

from data_prep.errors import InputError

GRID_TOLERANCE = 0.1  # of the smallest voxel edge
_RIGHT_ANGLE_TOLERANCE = 1e-4  # of a direction's dot products; text headers round to about 1e-6


@dataclass(frozen=True)
class SourceGrid:
    """Where the voxels of a file lie, in its own axis order, as SimpleITK has it (x fastest, LPS mm)."""

    size: tuple[int, ...]
    spacing: tuple[float, ...]  # mm
    origin: tuple[float, ...]  # mm, center of the first voxel
    direction: tuple[float, ...]  # 3 x 3, row by row; column i is the direction of axis i

    @property
    def orientation(self) -> str:
        """Three letters that say where each axis runs to, such as `LPS`; KiTS files are `IPL`."""
        import SimpleITK as sitk

        return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(self.direction)


def same_grid(a: SourceGrid, b: SourceGrid) -> bool:
    """Whether two files share one grid: equal sizes, no corner apart by more than a tenth of a voxel.

    The tenth (of the smallest edge of `a`'s voxels) lets pass what rounding in file headers does, and nothing
    more.
    """
    return a.size == b.size and bool(corners_apart_mm(a, b) <= GRID_TOLERANCE * min(a.spacing))


def corners_apart_mm(a: SourceGrid, b: SourceGrid) -> float:
    """Return the largest distance between the same corner of two grids; NaN where a grid holds NaN."""
    return float(np.linalg.norm(_corners_mm(a) - _corners_mm(b), axis=1).max())


def check_grid(grid: SourceGrid, path: Path) -> None:
    """Raise InputError unless spacing and origin are numbers, spacing is positive and the axes are at right angles."""
    if not all(np.isfinite(mm) and mm > 0 for mm in grid.spacing):
        found = " x ".join(f"{mm:g}" for mm in grid.spacing)
        raise InputError(f"{path}: the voxel spacing is {found} mm; expected positive numbers; correct the header")
    if not np.isfinite(grid.origin).all() or not np.isfinite(grid.direction).all():
        raise InputError(f"{path}: origin or direction is NaN or infinite; expected numbers; correct the header")
    axes = np.reshape(grid.direction, (3, 3))
    if np.abs(axes.T @ axes - np.eye(3)).max() > _RIGHT_ANGLE_TOLERANCE:
        raise InputError(
            f"{path}: the axes are sheared or of no unit length (gantry tilt?); expected axes at right angles; "
            "resample the image to such a grid"
        )


@lru_cache(maxsize=64)
def axial_axes(direction: tuple[float, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (order, flips): `np.flip(array.transpose(order), flips)` brings a file's array into axial order.

    SimpleITK decides, on one voxel: reading and writing then agree, also where an oblique axis is as near to
    two others.
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


def as_stored(axial: np.ndarray, direction: tuple[float, ...]) -> np.ndarray:
    """Return a view of an axial array [z, y, x] in the axis order of a file with these directions, [k, j, i]."""
    order, flips = axial_axes(direction)
    return np.flip(axial, flips).transpose(np.argsort(order))


def axial_grid(grid: SourceGrid) -> SourceGrid:
    """Return the grid of a file's voxels in axial order: equal for files that differ in their axis order only."""
    order, flips = axial_axes(grid.direction)
    axes = [2 - axis for axis in reversed(order)]  # of the file, for x, y, z
    size, spacing = [grid.size[axis] for axis in axes], [grid.spacing[axis] for axis in axes]
    direction = np.reshape(grid.direction, (3, 3))[:, axes]
    origin = np.array(grid.origin, float)
    for axis in (2 - flip for flip in flips):
        origin += direction[:, axis] * (size[axis] - 1) * spacing[axis]
        direction[:, axis] *= -1
    return SourceGrid(tuple(size), tuple(spacing), tuple(origin.tolist()), tuple(direction.ravel().tolist()))


def _corners_mm(grid: SourceGrid) -> np.ndarray:
    # [8, 3]; outer corners, not voxel centers: so the spacing counts along an axis of one voxel, too
    index = np.array(list(product(*((-0.5, n - 0.5) for n in grid.size))))
    direction = np.reshape(grid.direction, (3, 3))
    return np.asarray(grid.origin) + (index * grid.spacing) @ direction.T
