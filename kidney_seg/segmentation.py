"""One call from a scan to labels, volumes and flags: `kidney_seg.segment`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import InputError
from data_prep.formats.voxel_values import HounsfieldReader
from data_prep.geometry.source_grid import SourceGrid, check_grid
from data_prep.geometry.volume import Volume
from data_prep.volume import read_volume, write_labels
from kidney_seg.model.origin import origin_record
from kidney_seg.predict.engines import Job, make_job
from kidney_seg.predict.scans import segment_volume
from kidney_seg.weights import STARTER


@dataclass(frozen=True, repr=False)
class Segmentation:
    """The result of `segment`.

    labels: uint8 [z, y, x], 0 background, 1 kidney, 2 tumor, in axial order (z to superior, y to posterior, x to the
    patient's left). volume: the scan in the same order, int16 HU, with `spacing_mm` (z, y, x) and its own grid.
    record: volumes, kidneys, tumors, flags and settings, as in the JSON file of `kidney_seg.predict`.
    """

    labels: np.ndarray
    volume: Volume
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing (z, y, x) in mm."""
        return self.volume.spacing_mm

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of kidney and tumor in mL."""
        return self.record["volumes_ml"]

    @property
    def kidneys(self) -> list[dict[str, Any]]:
        """One dict per kidney: side, volume and place; empty if none was found."""
        return self.record["kidneys"]

    @property
    def tumors(self) -> list[dict[str, Any]]:
        """One dict per tumor, largest first: side, volume, diameter; empty if none was found."""
        return self.record["tumors"]

    @property
    def flags(self) -> list[dict[str, str]]:
        """Reasons to look closely: a code `flag` and a sentence `what`; empty if there are none."""
        return self.record["flags"]

    def save(self, path: str | Path) -> None:
        """Write the labels on the scan's own grid: `.nii.gz`, `.nii`, `.nrrd` or `.mha`; InputError if it exists."""
        path = Path(path)
        if os.path.lexists(path):
            raise InputError("exists; choose another name, or delete it first", path=path)
        write_labels(self.labels, self.volume.source, path)

    def __repr__(self) -> str:
        from kidney_seg.postprocess.review import summary_line

        size = " x ".join(map(str, self.labels.shape))
        return f"<Segmentation {size}; {summary_line(self.record)}>"


def segment(
    image: Any,
    model: str | Path = STARTER,
    *,
    affine: Any = None,
    series: str | None = None,
    ensemble: Sequence[str] = (),
    engine: str = "keras",
    **settings: Any,
) -> Segmentation:
    """Segment kidneys and tumors in one CT scan; the network stays loaded for the next one.

    Args:
        image: path of a `.nii.gz`, `.nii`, `.nrrd` or `.mha` file or of a folder of DICOM files; or an image in memory
            in HU: a SimpleITK image, a nibabel image, or an array [i, j, k] with its `affine`.
        model: `starter` (the model that ships), a run folder, or a `.keras` file.
        affine: 4 x 4, voxel index to mm in RAS, as in nibabel; only with an array.
        series: number or key of a DICOM series, as `python -m data_prep.dicom` lists them.
        ensemble, engine, settings: as for `kidney_seg.predict_scan`.

    Returns:
        Labels in axial order, with volumes, tumors and flags; `.save(path)` writes them on the scan's own grid.

    Raises:
        InputError: the model or the image cannot be used.

    Example:
        found = kidney_seg.segment("scan.nii.gz")
        found.volumes_ml["tumor"], found.flags
        found.save("labels.nii.gz")
    """
    in_a_file = isinstance(image, str | Path)
    if affine is not None and (in_a_file or _has_geometry(image)):
        raise InputError("segment: affine= is for an array alone; a file or an image has its own geometry")
    if series is not None and not in_a_file:
        raise InputError("segment: series= selects in a folder of DICOM files; found an image in memory")
    job = _with_loaded_network(make_job(model, ensemble, engine, settings))
    volume = read_volume(image, series) if in_a_file else _in_memory(image, affine)
    labels, _, record = segment_volume(job, volume)
    return Segmentation(labels, volume, {"made_by": job.made_by, **origin_record(job.sources), **record})


@lru_cache(maxsize=1)
def _with_loaded_network(job: Job) -> Job:
    return job  # of equal jobs the first: the next scan needs no loading


def _has_geometry(image: Any) -> bool:
    return hasattr(image, "GetDirection") or hasattr(image, "dataobj")  # of SimpleITK, of nibabel


def _in_memory(image: Any, affine: Any) -> Volume:
    if hasattr(image, "GetDirection"):  # SimpleITK
        import SimpleITK as sitk

        grid = SourceGrid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        return _volume(sitk.GetArrayFromImage(image), grid)
    if hasattr(image, "dataobj"):  # nibabel
        image, affine = np.asanyarray(image.dataobj), image.affine
    values = np.asarray(image)
    if affine is None:
        raise InputError("segment: an array without affine; give affine=, 4 x 4, voxel index to mm in RAS")
    matrix = np.diag([-1.0, -1.0, 1.0]) @ np.asarray(affine, float)[:3]  # RAS to LPS
    spacing = np.linalg.norm(matrix[:, :3], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = matrix[:, :3] / spacing
    tuples = (tuple(part.tolist()) for part in (spacing, matrix[:, 3], direction.ravel()))
    return _volume(values.T, SourceGrid(values.shape, *tuples))


def _volume(stored: np.ndarray, grid: SourceGrid) -> Volume:
    if stored.ndim != 3 or stored.dtype.kind not in "iuf" or not stored.size:
        raise InputError(f"image of shape {stored.shape[::-1]} and type {stored.dtype}; expected one 3-D image in HU")
    if not np.isfinite(stored).all():
        raise InputError("image holds NaN or infinity; expected HU; repair it")
    path = Path("image")
    check_grid(grid, path)
    voxels, reader = np.empty(grid.axial_shape, np.int16), HounsfieldReader()
    reader(stored, grid.to_stored(voxels))
    return Volume(voxels, grid.axial_spacing_mm, grid, path, reader.notes())
