"""Predict scans and write labels with their JSON records; the library behind `python -m kidney_seg.predict`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from data_prep.cli import progress
from data_prep.errors import NO_ROOM, InputError, of_memory_error, of_os_error
from data_prep.files.atomic import remove_leftovers
from data_prep.files.checksums import checked_sha256
from data_prep.parallel.tasks import WorkerDied, run
from kidney_seg.model.origin import origin_record
from kidney_seg.predict.engines import Job, choose_engine, make_job
from kidney_seg.predict.field import beyond_field
from kidney_seg.predict.inputs import Scan, find_scans, read_scan
from kidney_seg.predict.outputs import Done, Foreign, Outputs, check_all, outputs_of, write_outputs
from kidney_seg.predict.predictor import Watch, predict_slabs

if TYPE_CHECKING:
    import numpy as np

    from data_prep.geometry.volume import Volume


def predict_scan(
    model: str | Path,
    image: str | Path,
    out: str | Path,
    *,
    series: str | None = None,
    ensemble: Sequence[str] = (),
    engine: str = "keras",
    probabilities: bool = False,
    dicom_seg: bool = False,
    surfaces: str | None = None,
    force: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Segment one CT scan and write its labels on the scan's own grid, with a JSON record beside them.

    Labels that exist and were made in the same way are kept.

    Args:
        model: run folder (its best model) or `.keras` file.
        image: `.nii.gz`, `.nii`, `.nrrd` or `.mha` file, or folder with the DICOM files of a CT.
        out: label file to write, such as `labels.nii.gz`: 0 background, 1 kidney, 2 tumor.
        series: number or key of the DICOM series, as `python -m data_prep.dicom` lists them.
        ensemble: further models to average, or `["accepted"]`: all accepted rounds of the run `model`.
        engine: `keras`, `onnx` or `auto`.
        probabilities: also write `tumor_probability/` with the tumor's probability.
        dicom_seg: also write a DICOM SEG, if `image` is a DICOM series.
        surfaces: `stl`: also write the surfaces of kidney and tumor to `surfaces/`, in mm, LPS.
        force: replace label files that other settings made, or that were changed since.
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
    scans, single = find_scans([image], series=series)
    if not single:
        raise InputError(f"holds {len(scans)} cases; expected one scan", path=image)
    outputs = outputs_of(Path(out), probabilities=probabilities, dicom_seg=dicom_seg, surfaces=surfaces)
    return process_scan(make_job(model, ensemble, engine, settings), scans[0], outputs, force=force).record


@dataclass(frozen=True)
class ScanResult:
    """Result of one scan: its record, or the error for which it was not predicted.

    existed: the files were complete before and are kept. notes: what reading had to decide.
    """

    record: dict[str, Any]
    error: InputError | None = None
    existed: bool = False
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        from kidney_seg.postprocess.review import summary_line

        return "exists, complete and made in the same way" if self.existed else summary_line(self.record)


def process_scan(
    job: Job,
    scan: Scan,
    outputs: Outputs,
    *,
    force: bool = False,
    watch: Watch = iter,
    log: Callable[[str], None] | None = None,
) -> ScanResult:
    """Read one scan, predict and post-process it, and write `outputs`, unless they are done already.

    Args:
        force: replace files that other settings made.
        watch: as for `predict_slabs`.
        log: receives a line per decision of the reader; standard error by default.

    Raises:
        InputError: as for `read_volume` and `write_outputs`; nothing is left of a scan that fails.
    """
    from kidney_seg.postprocess.review import unfit

    check_all([outputs], [scan.image])
    image = {"sha256": checked_sha256(scan.image), "series": scan.series}
    state = outputs.state(job.made_by, image)
    if isinstance(state, Done):
        return ScanResult(state.record, existed=True)
    if isinstance(state, Foreign) and not (force and state.replaceable):
        raise state.error
    volume = read_scan(scan, for_seg=outputs.seg is not None)
    for note in volume.notes:
        (log or _to_stderr)(f"note: {scan.name}: {note}")
    labels, percent, description = segment_volume(job, volume, outputs.percent is not None, watch)
    for what in unfit(description) if len(volume.voxels) > 1 else ():  # a single slice is no scan
        (log or _to_stderr)(f"warning: {scan.name}: {what}")
    content = {"labels": outputs.labels.name, "image": image, "made_by": job.made_by, "engine": job.engine}
    content |= origin_record(job.sources)
    return ScanResult(write_outputs(outputs, volume, labels, percent, {**content, **description}))


def segment_volume(
    job: Job, volume: Volume, with_percent: bool = False, watch: Watch = iter
) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
    """Return labels uint8 [z, y, x], the tumor's percents if wanted, and their description (`review.describe`)."""
    from kidney_seg.postprocess.distant_objects import apply_rule
    from kidney_seg.postprocess.review import describe

    settings, grid, spacing_mm = job.settings, job.sources[0].grid, volume.spacing_mm
    found = predict_slabs(job.predictor, volume, grid, with_percent=with_percent, watch=watch)
    limits = asdict(settings.rule_settings)
    labels, objects = found.labels, None
    if settings.postprocess:
        labels, objects = apply_rule(found.labels, spacing_mm, **limits)
    description = describe(found.labels, labels, objects, spacing_mm, volume.voxels, found.tumor_confidence, **limits)
    if flag := beyond_field(volume, grid):
        description["flags"].append(flag)
    return labels, found.tumor_percent, description


def predict_scans(
    job: Job,
    scans: Sequence[tuple[Scan, Outputs]],
    *,
    force: bool = False,
    scheduler: str | None = None,
    log: Callable[[str], None] = print,
) -> list[tuple[Scan, InputError]]:
    """Predict many scans; return those that failed, in their order, each with its error.

    Files that exist and were made in the same way are kept.

    Args:
        force: replace files that other settings made.
        scheduler: address of a Dask scheduler whose workers predict; they need the same paths.
        log: receives a line per scan.

    Raises:
        InputError: files exist that other settings made, without `force`; an output is one of the inputs, cannot be
            written, or is a file of another kind; raised before the first scan.
    """
    check_all([outputs for _, outputs in scans], [scan.image for scan, _ in scans])
    for _, outputs in scans:
        state = outputs.state(job.made_by)
        if isinstance(state, Foreign) and not (force and state.replaceable):
            raise state.error
    tasks = [ScanTask(job, scan, outputs, force) for scan, outputs in scans]
    watch = (lambda slabs: progress(slabs, "batches of slices")) if len(tasks) == 1 else iter
    function = process_task_on_worker if scheduler else partial(_process_task, watch=watch)
    failed = {}
    try:
        with run(function, tasks, scheduler=scheduler, what="scans" if len(tasks) > 1 else None) as results:
            for index, result in results:
                if isinstance(result, WorkerDied):
                    result = ScanResult({}, InputError(f"{result}: finished scans are kept", code="worker_died"))
                for line in result.notes:
                    _to_stderr(line)
                if result.error is None:
                    log(f"{tasks[index].outputs.labels}: {result}")
                else:
                    failed[index] = result.error
    finally:
        for folder in {path.parent for _, outputs in scans for path in outputs.all}:
            remove_leftovers(folder)  # of processes that were killed
    return [(scans[index][0], failed[index]) for index in sorted(failed)]


@dataclass(frozen=True)
class ScanTask:
    """Arguments of `process_scan`."""

    job: Job
    scan: Scan
    outputs: Outputs
    force: bool


def _process_task(task: ScanTask, **options: Any) -> ScanResult:
    try:
        return process_scan(task.job, task.scan, task.outputs, force=task.force, **options)
    except InputError as error:
        return ScanResult({}, error)
    except MemoryError as error:
        return ScanResult({}, of_memory_error(error, task.scan.image))
    except OSError as error:  # of this scan's files, unless the disk is full
        if error.errno in NO_ROOM or (known := of_os_error(error)) is None:
            raise
        return ScanResult({}, known)


_ONE_AT_A_TIME = Lock()  # a worker may have several threads; memory is for one scan


def process_task_on_worker(task: ScanTask) -> ScanResult:
    """Return the result of `process_scan`, with its error and notes inside."""
    notes: list[str] = []
    with _ONE_AT_A_TIME:
        try:
            task = replace(task, job=_job_of_this_worker(task.job))
        except InputError as error:  # the engine is not installed here
            return ScanResult({}, error)
        return replace(_process_task(task, log=notes.append), notes=tuple(notes))


@lru_cache(maxsize=1)
def _job_of_this_worker(job: Job) -> Job:
    # kept between tasks, with the network that the first scan loads
    return replace(job, engine=choose_engine(job.engine))


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
