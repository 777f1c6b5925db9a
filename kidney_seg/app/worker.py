"""The process that segments: one scan at a time, the network stays loaded; to cancel a scan it is ended."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import InputError, is_out_of_memory, of_memory_error, of_os_error
from data_prep.formats.image_source import stem_of
from data_prep.geometry.volume import Volume
from data_prep.scans import Choice, Scan, find_scans, read_scan
from data_prep.scans.scan import seg_notes
from kidney_seg.app.entries import Source
from kidney_seg.app.view_files import ViewFiles, labels_on
from kidney_seg.predict.outputs import Outputs, outputs_beside, write_outputs
from kidney_seg.predict.scans import Segmenter, process_scan
from kidney_seg.results.record import read_record

Tell = Callable[..., None]  # an event's name and its values, to the page's process


@dataclass(frozen=True)
class Engine:
    """How scans are segmented: by a model here, or by a server (`HOST:PORT`, `http://HOST:PORT`)."""

    model: str = "starter"
    engine: str = "auto"
    device: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    server: str | None = None
    name: str = "kidney_seg"

    def job(self) -> Segmenter:
        """Return what labels volumes. InputError: no such model, no such server."""
        if self.server is None:
            from kidney_seg.predict.engines import make_job

            return make_job(self.model, (), self.engine, self.settings, device=self.device)
        from kidney_seg.serving.volumes import connect, served_job

        if not self.server.startswith("http"):
            from kidney_seg.tensorflow_log import quiet_tensorflow

            quiet_tensorflow()  # TF Serving's protos import it
        return served_job(connect(self.server, self.name), changes=self.settings)


@dataclass(frozen=True)
class Task:
    """One scan to segment, or to read with its labels. labels: file to write; view: folder of what the viewer reads."""

    number: int
    source: Source
    labels: Path
    view: Path

    @property
    def view_files(self) -> ViewFiles:
        """The files of the viewer, not yet written."""
        return ViewFiles(self.view, self.source.truth)


def work(engine: Engine, folder: Path, pipe: Connection) -> None:
    """Segment what comes through the pipe, until it is closed; the body of the process.

    folder: for temporary files of this process. Events go back through the pipe: (name, number of the scan, values...).
    """
    _end_with_parent()
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        job, problem = _ready_job(engine)
        pipe.send(("ready", 0))
        while True:
            task: Task = pipe.recv()
            if job is None and task.source.labels is None:  # the server was away
                job, problem = _ready_job(engine)
            tell = partial(_send, pipe, task.number)
            if job is None and task.source.labels is None:
                tell("failed", problem)
            else:
                _process(job, task, tell)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _send(pipe: Connection, number: int, name: str, *values: Any) -> None:
    pipe.send((name, number, *values))


def _ready_job(engine: Engine) -> tuple[Segmenter | None, str]:
    """Return the job with its network loaded, or None and why there is none."""
    try:
        job = engine.job()
        getattr(job, "predictor", None)  # a network here is loaded while the user looks for a file
        return job, ""
    except InputError as error:
        return None, str(error)


def _end_with_parent() -> None:
    """End this process as soon as that of the page ends, however it does."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _process(job: Segmenter | None, task: Task, tell: Tell) -> None:
    try:
        tell("done", *(_read(task, tell) if job is None or task.source.labels else _segmented(job, task, tell)))
    except InputError as error:
        tell("failed", error.detail)  # without its path, which may name a patient or is one of ours
    except Exception as error:
        if is_out_of_memory(error):
            tell("failed", of_memory_error(MemoryError(error)).detail)
        elif isinstance(error, OSError) and (known := of_os_error(error)) is not None:
            tell("failed", known.detail)
        else:
            traceback.print_exc()
            tell("failed", "a defect of this program; please report it, with the lines in the terminal")


def _segmented(job: Segmenter, task: Task, tell: Tell) -> tuple[dict[str, Any], Any]:
    scan = _scan_of(task.source, tell)
    kept = _Kept(job, task.view_files, tell)
    record = process_scan(
        kept,
        scan,
        outputs_beside(task.labels),
        pictures=True,
        watch=lambda slabs: _counted(slabs, tell),
        log=lambda line: tell("note", line.removeprefix(f"note: {scan.name}: ")) if line.startswith("note") else None,
    ).record
    assert kept.volume is not None and kept.labels is not None  # `process_scan` has called `segment`
    return kept.view.write_labels(kept.volume, kept.labels, record, kept.percent), kept.volume.source


@dataclass
class _Kept:
    """A `Segmenter` that hands the viewer the voxels before the network begins, and keeps what it made of them."""

    job: Segmenter
    view: ViewFiles
    tell: Tell
    volume: Volume | None = None
    labels: np.ndarray | None = None
    percent: np.ndarray | None = None

    @property
    def engine(self) -> str:
        return self.job.engine

    @property
    def made_by(self) -> dict[str, Any]:
        return self.job.made_by

    @property
    def origin(self) -> dict[str, Any]:
        return self.job.origin

    def segment(
        self, volume: Volume, with_percent: bool = False, watch: Any = iter
    ) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
        self.volume = volume
        for note in seg_notes(volume):  # before the work, not when it is to be saved
            self.tell("note", note)
        self.tell("image", self.view.write_image(volume))
        self.labels, self.percent, description = self.job.segment(volume, True, watch)
        return self.labels, self.percent, description


def _read(task: Task, tell: Tell) -> tuple[dict[str, Any], Any]:
    """Read a scan with labels that exist; describe them if no record of `predict` lies beside them."""
    from kidney_seg.postprocess.review import describe

    assert task.source.labels is not None
    volume, view = read_scan(_scan_of(task.source, tell)), task.view_files
    for note in volume.notes:
        tell("note", note)
    tell("image", view.write_image(volume))
    labels = labels_on(task.source.labels, volume)
    record = read_record(task.source.labels.with_name(f"{stem_of(task.source.labels)}.json"))
    if record is None or "tumors" not in record:
        record = {"made_by": {}, **describe(labels, labels, None, volume.spacing_mm, volume.voxels)}
    outputs: Outputs = outputs_beside(task.labels)
    content = {key: value for key, value in record.items() if key not in ("program", "files", "labels")}
    write_outputs(outputs, volume, labels, None, {"labels": outputs.labels.name, **content})
    return view.write_labels(volume, labels, record), volume.source


def _scan_of(source: Source, tell: Tell) -> Scan:
    scans, single = find_scans([source.scan], Choice(series=source.series), log=lambda line: tell("note", line))
    if len(scans) != 1:
        raise InputError(f"holds {len(scans)} scans; give one of them, such as the folder of one study")
    if scans[0].problem is not None:
        raise scans[0].problem
    return scans[0].alone() if single else scans[0]


def _counted(slabs: Iterable[int], tell: Tell) -> Iterator[int]:
    every = list(slabs)
    told = 0.0
    for done, slab in enumerate(every):
        if time.monotonic() - told > 0.2:
            tell("progress", done, len(every))
            told = time.monotonic()
        yield slab
    tell("progress", len(every), len(every))
