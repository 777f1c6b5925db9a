"""CT and label volumes with their geometry: read NIfTI, write labels on the very grid of their source."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np

from data_prep.command import InputError
from data_prep.files import replacing
from data_prep.nifti import check_name, check_whole

LARGEST_LABEL = 3  # cyst, in KiTS21 and KiTS23
GRID_TOLERANCE = 0.1  # of the smallest voxel edge


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


@dataclass(frozen=True)
class Volume:
    """Voxels in axial order and what is needed to write on their file's own grid.

    voxels: [z, y, x]; z ascends to the patient's superior, y to posterior, x to left (the nearest axes where
    the scan is oblique). So `voxels[k]` is an axial slice as radiologists view it: face up, patient's right
    on the left.
    spacing_mm: (z, y, x) of that array.
    """

    voxels: np.ndarray
    spacing_mm: tuple[float, float, float]
    source: SourceGrid
    path: Path
    notes: tuple[str, ...] = ()  # what reading had to decide, one line each


@dataclass(frozen=True)
class StoredImage:
    """A file's voxels as they are stored, rescaled to its own units: `values` [k, j, i] in the file's axis order."""

    values: np.ndarray
    grid: SourceGrid
    path: Path
    notes: tuple[str, ...] = ()


def read_volume(path: str | Path) -> Volume:
    """Read a CT image (`.nii.gz` or `.nii`) as int16 HU in axial order.

    Fractions are rounded to whole HU and values beyond int16 are clipped to it. InputError for a missing,
    truncated or damaged file, for anything but one 3-D scalar image (a fourth axis of length 1 is dropped),
    and for NaN or infinity.
    """
    return _in_axial_order(read_image(path), _as_hounsfield)


def read_labels(path: str | Path) -> Volume:
    """Read a label map as uint8 in axial order: 0 background, 1 kidney, 2 tumor, 3 cyst.

    InputError as for `read_volume`, and for any value that is not one of these four.
    """
    return _in_axial_order(read_image(path), _as_labels)


def write_labels(labels_zyx: np.ndarray, like: SourceGrid, path: str | Path) -> None:
    """Write labels [z, y, x] (axial order, as `read_volume` gives it) as uint8 NIfTI on the grid `like`.

    The file has the axis order, size, spacing, origin and direction of the source file; it appears whole or
    not at all. `path` ends in `.nii.gz` (compressed) or `.nii`. ValueError where the shape is not that of the
    source.
    """
    import SimpleITK as sitk

    path = Path(path)
    check_name(path)
    order, flips = _axial_axes(like.direction)
    in_source_order = np.flip(np.asarray(labels_zyx), flips).transpose(np.argsort(order))
    if in_source_order.shape != like.size[::-1]:
        expected = tuple(like.size[::-1][axis] for axis in order)
        raise ValueError(f"labels have the shape {np.shape(labels_zyx)}, their source has {expected} (z, y, x)")
    image = sitk.GetImageFromArray(np.ascontiguousarray(in_source_order, dtype=np.uint8))
    image.SetSpacing(like.spacing)
    image.SetOrigin(like.origin)
    image.SetDirection(like.direction)
    with replacing(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)


def same_grid(a: SourceGrid, b: SourceGrid) -> bool:
    """Whether two files share one grid: equal sizes, no corner apart by more than a tenth of a voxel.

    The tenth (of the smallest edge of `a`'s voxels) lets pass what rounding in file headers does, and nothing
    more.
    """
    if a.size != b.size:
        return False
    apart_mm = np.linalg.norm(_corners_mm(a) - _corners_mm(b), axis=1)
    return bool(np.all(apart_mm <= GRID_TOLERANCE * min(a.spacing)))


def _corners_mm(grid: SourceGrid) -> np.ndarray:
    # [8, 3]; outer corners, not voxel centers: so the spacing counts along an axis of one voxel, too
    index = np.array(list(product(*((-0.5, n - 0.5) for n in grid.size))))
    direction = np.reshape(grid.direction, (3, 3))
    return np.asarray(grid.origin) + (index * grid.spacing) @ direction.T


@lru_cache(maxsize=64)
def _axial_axes(direction: tuple[float, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
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


def _in_axial_order(image: StoredImage, convert: Callable[[np.ndarray, Path], np.ndarray]) -> Volume:
    order, flips = _axial_axes(image.grid.direction)
    converted = convert(image.values, image.path)
    voxels = np.ascontiguousarray(np.flip(converted.transpose(order), flips))
    spacing_mm = tuple(image.grid.spacing[::-1][axis] for axis in order)
    return Volume(voxels, spacing_mm, image.grid, image.path, image.notes)


def _as_hounsfield(values: np.ndarray, path: Path) -> np.ndarray:
    if np.can_cast(values.dtype, np.int16):
        return values.astype(np.int16, copy=False)
    hu = np.empty(values.shape, np.int16)
    limits = np.iinfo(np.int16)
    bad = 0
    for plane, out in zip(values, hu, strict=True):  # plane by plane: a float copy of a whole scan is gigabytes
        finite = np.isfinite(plane)
        bad += int(plane.size - np.count_nonzero(finite))
        out[...] = np.clip(np.rint(np.where(finite, plane, 0).astype(np.float64)), limits.min, limits.max)
    if bad:
        raise InputError(f"{path}: {bad} voxels are NaN or infinite; expected HU; repair or leave out the case")
    return hu


def _as_labels(values: np.ndarray, path: Path) -> np.ndarray:
    labels = np.empty(values.shape, np.uint8)
    bad: set[float] = set()
    for plane, out in zip(values, labels, strict=True):
        valid = (plane >= 0) & (plane <= LARGEST_LABEL)
        if values.dtype.kind == "f":
            valid &= plane == np.rint(plane)
        if valid.all():
            out[...] = plane
        else:
            bad.update(np.unique(plane[~valid]).tolist())
    if bad:
        found = ", ".join(f"{value:g}" for value in sorted(bad)[:5]) + (", ..." if len(bad) > 5 else "")
        raise InputError(
            f"{path}: label values {found} found; expected only 0 background, 1 kidney, 2 tumor and 3 cyst; "
            "is this a label map?"
        )
    return labels


def read_image(path: str | Path) -> StoredImage:
    """Read a whole and undamaged 3-D scalar NIfTI file as it is stored; InputError for all else."""
    path = Path(path)
    check_whole(path)
    import SimpleITK as sitk

    warnings = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # notes on header style, many lines each
    try:
        image = sitk.ReadImage(str(path), imageIO="NiftiImageIO")
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read as NIfTI: {_last_line(error)}") from None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warnings)
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    kind = image.GetPixelIDTypeAsString()
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1 or "complex" in kind:
        size = " x ".join(str(n) for n in image.GetSize())
        raise InputError(f"{path}: holds {size} of {kind}; expected one 3-D image with one real value per voxel")
    source = SourceGrid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return StoredImage(sitk.GetArrayFromImage(image), source, path)


def _last_line(error: Exception) -> str:
    text = [line.strip() for line in str(error).splitlines() if line.strip()][-1]
    return re.sub(r"^(sitk::ERROR:|ITK ERROR:)?\s*(\w+\(0x\w+\):)?\s*", "", text)
