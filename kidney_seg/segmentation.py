"""One call from a scan to labels, volumes and flags: `kidney_seg.segment`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from html import escape
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from data_prep.dicom.studies import is_packed
from data_prep.errors import InputError
from data_prep.formats.hu_and_labels import HounsfieldReader
from data_prep.geometry.source_grid import SourceGrid, check_grid
from data_prep.geometry.volume import Volume
from data_prep.scans import Choice, find_one, read_scan
from data_prep.scans.scan import seg_notes
from data_prep.version import code_version
from data_prep.volume import write_labels
from kidney_seg.predict.engines import Job, check_not_forked, make_job
from kidney_seg.predict.outputs import PROGRAM
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

    @property
    def notes(self) -> tuple[str, ...]:
        """One line per decision of the reader, such as which of several series was read; empty if there were none."""
        return self.volume.notes

    def save(self, path: str | Path) -> None:
        """Write the labels on the scan's own grid, with names and colors; InputError if the file exists.

        The name ends in `.nii.gz`, `.nii`, `.nrrd` (`.seg.nrrd` for 3D Slicer) or `.mha`; a scan from DICOM files can
        also be saved as `.dcm`, a DICOM SEG (extra `dicom`).
        """
        path = Path(path)
        if os.path.lexists(path):
            raise InputError("exists; choose another name, or delete it first", path=path)
        if path.suffix == ".dcm":
            from data_prep.dicom.seg_writer import write_dicom_seg

            by = {"algorithm_name": PROGRAM, "algorithm_version": code_version()}
            write_dicom_seg(self.labels, self.volume, path, **by)
        else:
            write_labels(self.labels, self.volume.source, path)

    def show(self, *, widget: bool = True) -> Any:
        """Return a viewer of scan and labels for the last line of a notebook's cell, see `figures.notebook`.

        Three planes and 3-D by ipyniivue, or slices to scroll through with ipywidgets (extra `notebooks`); without
        either, or with `widget=False`, a matplotlib figure of the most informative slice.
        """
        from kidney_seg.figures.notebook import show_labels

        return show_labels(self.volume, self.labels, widget=widget)

    def __repr__(self) -> str:
        from kidney_seg.postprocess.review import summary_line

        size = " x ".join(map(str, self.labels.shape))
        return f"<Segmentation {size}; {summary_line(self.record)}>"

    def _repr_html_(self) -> str:
        shown = [("Scan", f"{_times(self.labels.shape)} voxels (z, y, x) of {_times(self.spacing_mm)} mm")]
        shown += [("Kidney", f"{one['side']}, {one['volume_ml']:.0f} mL") for one in self.kidneys]
        shown += [
            ("Tumor", f"{one['side']}, {one['volume_ml']:.1f} mL, {one['diameter_mm']:.0f} mm") for one in self.tumors
        ]
        shown += [("Review", flag["what"]) for flag in self.flags] + [("Note", note) for note in self.notes]
        about = self.record.get("model") or {}
        names = {"name": "Model", "data": "Trained on", "license": "License"}
        shown += [(names[key], text) for key, text in about.items()]
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(text))}</td></tr>" for name, text in shown)
        return f"<table>{rows}</table>"


def segment(
    image: Any,
    model: str | Path = STARTER,
    *,
    affine: Any = None,
    series: str | None = None,
    ensemble: Sequence[str] = (),
    engine: str = "auto",
    **settings: Any,
) -> Segmentation:
    """Segment kidneys and tumors in one CT scan; the network stays loaded for the next one.

    Threads may call it: scans are read side by side, and the network takes one at a time. It starts no process, so it
    also works in daemonic ones; in a process that was forked after a network was used, it is an InputError.

    Args:
        image: path of a `.nii.gz`, `.nii`, `.nrrd` or `.mha` file or of a folder or zip file with the DICOM files of
            one study; or an image in memory in HU: a SimpleITK image, a nibabel image, or an array [i, j, k] with its
            `affine`.
        model: `starter` (the model that ships), a run folder, or a `.keras` file.
        affine: 4 x 4, voxel index to mm in RAS, as in nibabel; only with an array. Axes of length 1 after the third are
            dropped.
        series: number or key of a DICOM series, as `python -m data_prep.dicom` lists them.
        ensemble, engine, settings: as for `kidney_seg.predict_scan`.

    Returns:
        Labels in axial order, with volumes, tumors and flags; `.save(path)` writes them on the scan's own grid.

    Raises:
        InputError: the model or the image cannot be used, or a folder holds several scans.

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
    check_not_forked()  # before the lock, which another thread may have held at the fork
    job = make_job(model, ensemble, engine, settings)
    volume = _in_a_file(image, series) if in_a_file else _in_memory(image, affine)
    with _ONE_AT_A_TIME:
        job = _with_loaded_network(job)
        labels, _, record = job.segment(volume)
    return Segmentation(labels, volume, {"made_by": job.made_by, **job.origin, **record})


_ONE_AT_A_TIME = Lock()  # one network, and memory for one scan


@lru_cache(maxsize=1)
def _with_loaded_network(job: Job) -> Job:
    return job  # of equal jobs the first: the next scan needs no loading


def _in_a_file(path: str | Path, series: str | None) -> Volume:
    notes: list[str] = []
    scan = find_one(path, Choice(series=series), notes.append)
    volume = read_scan(scan, keep_headers=is_packed(scan.image))  # for `save`: a zip file is not unpacked any more then
    found = (note.removeprefix("note: ") for note in notes)
    return replace(volume, notes=(*found, *volume.notes, *seg_notes(volume)))


def _has_geometry(image: Any) -> bool:
    return hasattr(image, "GetDirection") or hasattr(image, "dataobj")  # of SimpleITK, of nibabel


def _in_memory(image: Any, affine: Any) -> Volume:
    if hasattr(image, "GetDirection"):  # SimpleITK
        import SimpleITK as sitk

        grid = SourceGrid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        return _volume(sitk.GetArrayFromImage(image), grid)
    to_mm = 1.0
    if hasattr(image, "dataobj"):  # nibabel
        units = getattr(image.header, "get_xyzt_units", lambda: ("mm",))
        to_mm = {"meter": 1000.0, "micron": 0.001}.get(units()[0], 1.0)
        image, affine = np.asanyarray(image.dataobj), image.affine
    values = np.asarray(image)
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    matrix = np.diag([-1.0, -1.0, 1.0]) @ _affine(affine)[:3] * to_mm  # RAS to LPS
    spacing = np.linalg.norm(matrix[:, :3], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = matrix[:, :3] / spacing
    tuples = (tuple(part.tolist()) for part in (spacing, matrix[:, 3], direction.ravel()))
    return _volume(values.T, SourceGrid(values.shape, *tuples))


def _affine(given: Any) -> np.ndarray:
    expected = "give affine=, 4 x 4 numbers, voxel index to mm in RAS, the last row 0, 0, 0, 1"
    if given is None:
        raise InputError(f"segment: an array without affine; {expected}")
    try:
        affine = np.asarray(given, float)
    except (TypeError, ValueError):
        raise InputError(f"segment: affine of type {type(given).__name__} holds no numbers; {expected}") from None
    if affine.shape != (4, 4) or not np.array_equal(affine[3], (0, 0, 0, 1)):
        raise InputError(f"segment: affine of shape {affine.shape}; {expected}")
    return affine


def _times(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:.3g}" if isinstance(number, float) else str(number) for number in numbers)


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
