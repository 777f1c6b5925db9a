"""Predict one scan and write its labels with their JSON record; `batch` does so for many."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from data_prep.errors import InputError
from data_prep.scans import Choice, Scan, find_one, read_scan
from data_prep.volume import read_labels
from kidney_seg.predict.engines import make_job
from kidney_seg.predict.outputs import Done, Foreign, Outputs, check_all, outputs_beside, write_outputs
from kidney_seg.predict.predictor import Watch
from kidney_seg.results.picture import draw, read_picture, write_picture

if TYPE_CHECKING:
    import numpy as np

    from data_prep.geometry.volume import Volume


class Segmenter(Protocol):
    """What labels a volume: a `Job`, or a model on a server."""

    @property
    def engine(self) -> str:
        """Name of what runs the network."""

    @property
    def made_by(self) -> dict[str, Any]:
        """What the labels depend on besides the image."""

    @property
    def origin(self) -> dict[str, Any]:
        """What a prediction's record says of the models' origin."""

    def segment(
        self, volume: Volume, with_percent: bool = False, watch: Watch = iter
    ) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
        """Return labels uint8 [z, y, x], the tumor's percents if wanted, and their description."""


def predict_scan(
    model: str | Path,
    image: str | Path,
    out: str | Path,
    *,
    series: str | None = None,
    ensemble: Sequence[str] = (),
    engine: str = "auto",
    probabilities: bool = False,
    dicom_seg: bool = False,
    surfaces: str | None = None,
    force: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Segment one CT scan and write its labels on the scan's own grid, with a JSON record beside them.

    Labels that exist and were made in the same way are kept, unless `force`.

    Args:
        model: run folder (its best model) or `.keras` file.
        image: `.nii.gz`, `.nii`, `.nrrd` or `.mha` file, or folder or zip file with the DICOM files of one study.
        out: label file to write, such as `labels.nii.gz`: 0 background, 1 kidney, 2 tumor.
        series: number or key of the DICOM series, as `python -m data_prep.dicom` lists them.
        ensemble: further models to average, or `["accepted"]`: all accepted rounds of the run `model`.
        engine: `keras`, `onnx`, or `auto`: `onnx` if it is installed, the model's ONNX file exists and there is no
            GPU, else `keras`.
        probabilities: also write `tumor_probability/` with the tumor's probability.
        dicom_seg: also write a DICOM SEG, if `image` is a DICOM series.
        surfaces: `stl`: also write the surfaces of kidney and tumor to `surfaces/`, in mm, LPS.
        force: predict again, and replace label files that other settings made or that were changed since.
        settings: fields of `PredictionConfig` that differ from the model's, such as `flips="both"`.

    Returns:
        The record: volumes, kidneys, tumors, flags for review, models, settings, and checksums of the files.

    Raises:
        InputError: the model or the image cannot be read, `out` is the image or cannot be written, or it exists and
            other settings or another program made it.

    Example:
        record = kidney_seg.predict_scan("runs/first", "scan.nii.gz", "labels.nii.gz", flips="left_right")
        record["volumes_ml"]["tumor"]
    """
    scan = find_one(image, Choice(series=series, for_seg=dicom_seg))
    outputs = outputs_beside(Path(out), probabilities=probabilities, dicom_seg=dicom_seg, surfaces=surfaces)
    return process_scan(make_job(model, ensemble, engine, settings), scan, outputs, force=force).record


@dataclass(frozen=True)
class ScanResult:
    """Result of one scan: its record, or the error for which it was not predicted.

    existed: the files were complete before and are kept. notes: lines for standard error.
    """

    record: dict[str, Any]
    error: InputError | None = None
    existed: bool = False
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        from kidney_seg.postprocess.review import summary_line

        done = "exists, complete and made in the same way; --force computes it again"
        return done if self.existed else summary_line(self.record)


def process_scan(
    job: Segmenter,
    scan: Scan,
    outputs: Outputs,
    *,
    force: bool = False,
    pictures: bool = False,
    watch: Watch = iter,
    log: Callable[[str], None] | None = None,
) -> ScanResult:
    """Read one scan, predict and post-process it, and write `outputs`, unless they are done already.

    Args:
        force: predict again, and replace files that other settings made.
        pictures: also draw the scan with its labels, for the page of a batch.
        watch: as for `predict_slabs`.
        log: receives a line per decision of the reader; standard error by default.

    Raises:
        InputError: as for `read_volume` and `write_outputs`; nothing is left of a scan that fails.
    """
    from kidney_seg.postprocess.review import unfit

    begun, log = time.monotonic(), log or _to_stderr
    check_all([outputs], [scan.image])
    image = {"sha256": scan.sha256(), "series": scan.series}
    state = outputs.state(job.made_by, image)
    if isinstance(state, Done) and not force:
        if pictures and read_picture(outputs.picture, state.record["files"][outputs.labels.name]) is None:
            _draw(read_scan(scan), read_labels(outputs.labels).voxels, outputs, state.record)
        return ScanResult(state.record, existed=True)
    if isinstance(state, Foreign) and not (force and state.replaceable):
        raise state.error
    volume = read_scan(scan, for_seg=outputs.seg is not None)
    for note in volume.notes:
        log(f"note: {scan.name}: {note}")
    labels, percent, description = job.segment(volume, outputs.percent is not None, watch)
    for what in unfit(description) if len(volume.voxels) > 1 else ():  # a single slice is no scan
        log(f"warning: {scan.name}: {what}")
    content: dict[str, Any] = {"labels": outputs.labels.name, "image": image}
    content |= {"made_by": job.made_by, "engine": job.engine}
    content |= job.origin
    content |= {**description, "notes": list(volume.notes), "seconds": round(time.monotonic() - begun, 1)}
    record = write_outputs(outputs, volume, labels, percent, content)
    if pictures:
        _draw(volume, labels, outputs, record)
    return ScanResult(record)


def _draw(volume: Volume, labels: np.ndarray, outputs: Outputs, record: dict[str, Any]) -> None:
    content = draw(volume.voxels, labels, volume.spacing_mm, record["files"][outputs.labels.name])
    write_picture(outputs.picture, content)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
