"""CT and label volumes with their geometry: read any supported file, write labels on the very grid of their source."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_prep.errors import InputError
from data_prep.files.atomic import replacing
from data_prep.formats.image_source import FILE_ENDINGS, VoxelSource
from data_prep.geometry.source_grid import SourceGrid, as_stored, axial_axes
from data_prep.geometry.types import triple
from data_prep.geometry.volume import StoredImage, Volume
from data_prep.labels import LARGEST_LABEL


def read_volume(path: str | Path, series: str | int | None = None) -> Volume:
    """Read a CT image (`.nii.gz`, `.nii`, `.nrrd`, `.mha`, or a folder of DICOM files) as int16 HU in axial order.

    Fractions are rounded to whole HU and values beyond int16 are clipped to it. series: which one of a DICOM folder, by
    the number or key of `dicom.list_series`; the axial CT with most slices without it. InputError for a missing,
    truncated or damaged file, for anything but one 3-D scalar image (a fourth axis of length 1 is dropped), for a
    geometry that is none, and for NaN or infinity. The file is read once, and next to the voxels themselves takes
    less than 200 MB of memory.
    """
    return _in_axial_order(_open(path, series), np.dtype(np.int16), _to_hounsfield)


def read_labels(path: str | Path) -> Volume:
    """Read a label map as uint8 in axial order: 0 background, 1 kidney, 2 tumor, 3 cyst.

    A `.dcm` file is read as a DICOM Segmentation, see `dicom_seg.read_dicom_seg`. InputError as for `read_volume`, and
    for any value that is not one of these four.
    """
    if Path(path).suffix.lower() == ".dcm" and Path(path).is_file():
        from data_prep.dicom.seg_reader import read_dicom_seg

        return read_dicom_seg(path)
    source = _open(path)
    bad: list[float] = []  # the smallest six
    volume = _in_axial_order(source, np.dtype(np.uint8), lambda values, out: _to_labels(values, out, bad))
    if bad:
        found = ", ".join(f"{value:g}" for value in bad[:5]) + (", ..." if len(bad) > 5 else "")
        raise InputError(
            f"{source.path}: label values {found} found; expected only 0 background, 1 kidney, 2 tumor and 3 cyst; "
            "is this a label map?"
        )
    return volume


def read_image(path: str | Path, series: str | int | None = None) -> StoredImage:
    """Read an image as it is stored, its axis order and type of numbers included; else as `read_volume`."""
    source = _open(path, series)
    values = _room(source, source.grid.size[::-1], source.dtype)
    _fill(source, values, lambda slab, out: np.copyto(out, slab))
    return StoredImage(values, source.grid, source.path, source.notes)


def check_whole(path: str | Path) -> None:
    """Read a file to its end and keep nothing; InputError as for `read_image`."""
    for _ in _open(path).slabs():
        pass


def write_labels(labels_zyx: np.ndarray, like: SourceGrid, path: str | Path) -> None:
    """Write labels [z, y, x] (axial order, as `read_volume` gives it) as uint8 on the grid `like`.

    The file has the axis order, size, spacing, origin and direction of the source file; it appears whole or not at
    all. `path` ends in `.nii.gz`, `.nrrd` or `.mha` (compressed) or `.nii`; for a DICOM source, too. ValueError where
    the shape is not that of the source.
    """
    import SimpleITK as sitk

    path = Path(path)
    _check_name(path)
    order, _ = axial_axes(like.direction)
    expected = tuple(like.size[::-1][axis] for axis in order)
    if np.shape(labels_zyx) != expected:
        raise ValueError(f"labels have the shape {np.shape(labels_zyx)}, their source has {expected} (z, y, x)")
    stored = as_stored(np.asarray(labels_zyx), like.direction)
    image = sitk.GetImageFromArray(np.ascontiguousarray(stored, dtype=np.uint8))
    image.SetSpacing(like.spacing)
    image.SetOrigin(like.origin)
    image.SetDirection(like.direction)
    with replacing(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)


def _open(path: str | Path, series: str | int | None = None) -> VoxelSource:
    path = Path(path)
    if not os.path.exists(path):  # false, too, where a folder on the way must not be entered
        raise InputError(f"{path}: there is no such file or folder, or it may not be read")
    if not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: is neither file nor folder; expected an image file or a folder of DICOM files")
    if path.is_dir() and not path.name.endswith(FILE_ENDINGS):
        from data_prep.dicom.reader import open_dicom

        return open_dicom(path, series)
    _check_name(path)
    if series is not None:
        raise InputError(f"{path}: is one image; a series can only be chosen in a folder of DICOM files")
    if path.name.endswith(".nrrd"):
        from data_prep.formats.nrrd import open_nrrd as open_file
    elif path.name.endswith(".mha"):
        from data_prep.formats.metaimage import open_metaimage as open_file
    else:
        from data_prep.formats.nifti import open_nifti as open_file
    return open_file(path)


def _check_name(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a file, {', '.join(FILE_ENDINGS)}")
    if path.name.endswith((".nhdr", ".mhd", ".hdr", ".img")):
        raise InputError(f"{path}: keeps header and voxels in two files; expected one file; convert it to .nii.gz")
    if path.suffix.lower() in (".dcm", ".ima"):
        raise InputError(f"{path}: is one DICOM file; expected the folder with all slices of the series")
    if not path.name.endswith(FILE_ENDINGS):
        raise InputError(f"{path}: the name does not end in {', '.join(FILE_ENDINGS)}; expected an image file")


def _in_axial_order(source: VoxelSource, dtype: np.dtype, convert: Callable[[np.ndarray, np.ndarray], None]) -> Volume:
    order, _ = axial_axes(source.grid.direction)
    shape_zyx = triple(source.grid.size[::-1][axis] for axis in order)
    voxels = _room(source, shape_zyx, dtype)
    _fill(source, as_stored(voxels, source.grid.direction), convert)
    spacing_mm = triple(source.grid.spacing[::-1][axis] for axis in order)
    return Volume(voxels, spacing_mm, source.grid, source.path, source.notes)


def _room(source: VoxelSource, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    try:
        return np.empty(shape, dtype)
    except MemoryError:
        size = " x ".join(str(n) for n in shape)
        raise InputError(
            f"{source.path}: {size} voxels of {dtype.itemsize} bytes are more than this machine's memory; close other "
            "programs or use another machine"
        ) from None


def _fill(source: VoxelSource, stored: np.ndarray, convert: Callable[[np.ndarray, np.ndarray], None]) -> None:
    first = 0
    for slab in source.slabs():
        convert(slab, stored[first : first + len(slab)])
        first += len(slab)


def _to_hounsfield(values: np.ndarray, out: np.ndarray) -> None:
    if np.can_cast(values.dtype, np.int16):
        out[...] = values
        return
    limits = np.iinfo(np.int16)
    for plane, out_plane in zip(values, out, strict=True):  # plane by plane: few doubles at a time
        out_plane[...] = np.clip(np.rint(plane.astype(np.float64)), limits.min, limits.max)


def _to_labels(values: np.ndarray, out: np.ndarray, bad: list[float]) -> None:
    valid = (values >= 0) & (values <= LARGEST_LABEL)
    if values.dtype.kind == "f":
        valid &= values == np.rint(values)
    if valid.all():
        out[...] = values
    else:
        bad[:] = sorted({*bad, *np.unique(values[~valid])[:6].tolist()})[:6]
