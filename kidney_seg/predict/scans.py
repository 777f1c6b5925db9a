"""Scans to labels and what is told of them: the work of `kidney_seg.predict`, for use from Python, too."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from data_prep.cli import progress
from data_prep.errors import InputError
from data_prep.files.atomic import remove_leftovers
from data_prep.files.checksums import checked_sha256
from data_prep.parallel.dask_cluster import in_scheduler
from data_prep.parallel.workers import Died
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.model.model_file import ModelSource
from kidney_seg.predict.engines import choose_engine, open_predictor
from kidney_seg.predict.inputs import Scan
from kidney_seg.predict.outputs import Outputs, check_source, is_done, write_outputs
from kidney_seg.predict.predictor import Predictor
from kidney_seg.predict.volume import predict_slabs

if TYPE_CHECKING:
    import numpy as np

    from data_prep.geometry.volume import Volume


@dataclass(frozen=True)
class Job:
    """How scans are predicted: by the mean of `sources`, with these settings.

    engine: `keras` or `onnx`; for the workers of a scheduler also `auto`, which each of them chooses for itself.
    """

    sources: Sequence[ModelSource]
    settings: PredictionConfig
    engine: str = "keras"

    @cached_property
    def predictor(self) -> Predictor:
        """The network; loaded when the first scan needs it."""
        return open_predictor(self.sources, self.settings, self.engine)

    @property
    def made_by(self) -> dict[str, Any]:
        """What the labels depend on besides the image. The engines agree, so which it was is not part of it."""
        lists = {name: list(getattr(self.settings, name)) for name in ("odds", "zooms")}  # as JSON has them
        settings = {**asdict(self.settings), **lists}
        del settings["slices_per_batch"]
        return {
            "models": [source.sha256 for source in self.sources],
            "grid": asdict(self.sources[0].grid),
            "settings": settings,
        }


def predict_scan(
    job: Job,
    scan: Scan,
    outputs: Outputs,
    image: Mapping[str, Any] | None = None,
    watch: Callable[[Sequence[int]], Iterable[int]] = iter,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Read one scan, predict it, apply the paper's rule, and write what `outputs` names; return the record.

    note: gets a line for each thing that reading had to decide; without it, they are said on standard error. image: as
    `_identity` gives it, if known; watch: as for `predict_slabs`. Errors as for `read_volume` and `write_outputs`;
    nothing is left of a scan that fails.
    """
    from data_prep.volume import read_volume

    check_source(outputs, scan.image)
    volume = read_volume(scan.image, scan.series)
    for line in volume.notes:
        (note or _to_stderr)(f"note: {scan.name}: {line}")
    labels, percent, described = _segment(job, volume, outputs.percent is not None, watch)
    content = {
        "labels": outputs.labels.name,
        "image": dict(image or _identity(scan)),
        "made_by": job.made_by,
        "engine": job.engine,
        **described,
    }
    return write_outputs(outputs, volume, labels, percent, content)


def _segment(
    job: Job, volume: Volume, with_percent: bool, watch: Callable[[Sequence[int]], Iterable[int]]
) -> tuple[np.ndarray, np.ndarray | None, dict]:
    # labels after the rule, percents, what the record tells of them; the labels before the rule are kept no longer
    from kidney_seg.postprocess.distant_objects import apply_rule
    from kidney_seg.postprocess.review import describe

    settings, grid, spacing_mm = job.settings, job.sources[0].grid, volume.spacing_mm
    found = predict_slabs(job.predictor, volume, grid, with_percent=with_percent, watch=watch)
    limits = {"distance_mm": settings.distance_mm, "kidney_ml": settings.kidney_ml}
    labels, objects = found.labels, None
    if settings.postprocess:
        labels, objects = apply_rule(found.labels, spacing_mm, **limits)
    told = describe(found.labels, labels, objects, spacing_mm, volume.voxels, found.tumor_confidence, **limits)
    return labels, found.tumor_percent, told


@dataclass(frozen=True)
class _Told:
    """What is told of one scan: a line, or the error for which it was not predicted; and the notes of its reading."""

    line: str = ""
    error: str | None = None
    notes: tuple[str, ...] = ()


def predict_scans(
    job: Job,
    scans: Sequence[tuple[Scan, Outputs]],
    *,
    force: bool = False,
    scheduler: str | None = None,
    say: Callable[[str], None] = print,
) -> list[tuple[Scan, InputError]]:
    """Predict many scans and return those that failed, in their order, each with its error; the others are done.

    What is there already is left as it is if it is what would be made (`is_done`). What is there otherwise is replaced
    only with `force`; without it, InputError before the first scan. `say` gets a line for each scan. `scheduler`:
    address of a Dask scheduler whose workers, with the same paths, predict instead of this process.
    """
    for _, outputs in scans:
        if not force:
            is_done(outputs, job.made_by)
    found = _here(job, scans, force) if scheduler is None else _on_workers(job, scans, force, scheduler)
    failed = {}
    try:
        with closing(found):
            for index, told in progress(found, "scans", total=len(scans)) if len(scans) > 1 else found:
                for line in told.notes:
                    _to_stderr(line)
                if told.error is None:
                    say(f"{scans[index][1].labels}: {told.line}")
                else:
                    failed[index] = InputError(told.error)
    finally:
        for folder in {path.parent for _, outputs in scans for path in outputs.all}:
            remove_leftovers(folder)  # of processes that were killed
    return [(scans[index][0], failed[index]) for index in sorted(failed)]


def _here(job: Job, scans: Sequence[tuple[Scan, Outputs]], force: bool) -> Generator[tuple[int, _Told]]:
    def watch(slabs: Sequence[int]) -> Iterable[int]:
        return progress(slabs, "batches of slices") if len(scans) == 1 else slabs

    for index, (scan, outputs) in enumerate(scans):
        yield index, _tell(job, scan, outputs, force, watch)


def _on_workers(
    job: Job, scans: Sequence[tuple[Scan, Outputs]], force: bool, address: str
) -> Generator[tuple[int, _Told]]:
    # paths that hold on other hosts, too
    sources = [
        replace(source, path=source.path.absolute(), weights=source.weights and source.weights.absolute())
        for source in job.sources
    ]
    packed = pickle.dumps(Job(sources, job.settings, job.engine))
    tasks = [(packed, replace(scan, image=scan.image.absolute()), outputs.absolute(), force) for scan, outputs in scans]
    with closing(in_scheduler(_tell_there, tasks, address)) as results:
        for index, told in results:
            if isinstance(told, Died):
                told = _Told(error=f"its task {told}; run again: finished scans are kept")
            yield index, told


_ONE_AT_A_TIME = Lock()  # a worker may have several threads; a scan's memory and the network are for one


def _tell_there(packed: bytes, scan: Scan, outputs: Outputs, force: bool) -> _Told:
    notes: list[str] = []
    with _ONE_AT_A_TIME:
        try:
            told = _tell(_unpacked(packed), scan, outputs, force, note=notes.append)
        except InputError as error:  # of the network, or of the engine on this host
            told = _Told(error=str(error))
    return replace(told, notes=tuple(notes))


@lru_cache(maxsize=1)
def _unpacked(packed: bytes) -> Job:
    # kept between the tasks of a process, with the network that its first scan loads
    job = pickle.loads(packed)
    return replace(job, engine=choose_engine(job.engine))


def _tell(
    job: Job,
    scan: Scan,
    outputs: Outputs,
    force: bool,
    watch: Callable[[Sequence[int]], Iterable[int]] = iter,
    note: Callable[[str], None] | None = None,
) -> _Told:
    from kidney_seg.postprocess.review import summary_line

    try:
        image = _identity(scan)
        if _is_done(outputs, job.made_by, image, force):
            return _Told("was there already, whole and made in the same way")
        return _Told(summary_line(predict_scan(job, scan, outputs, image, watch, note)))
    except InputError as error:
        return _Told(error=str(error))


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def _is_done(outputs: Outputs, made_by: Mapping[str, Any], image: Mapping[str, Any], force: bool) -> bool:
    try:
        return is_done(outputs, made_by, image)
    except InputError:
        if not force:
            raise
        return False


def _identity(scan: Scan) -> dict[str, Any]:
    return {"sha256": checked_sha256(scan.image), "series": scan.series}
