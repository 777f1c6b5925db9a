"""Scans to labels and what is told of them: the work of `kidney_seg.predict`, for use from Python, too."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from data_prep.command import InputError, progress
from data_prep.files import checked_sha256
from kidney_seg.config import PredictionConfig
from kidney_seg.engines import open_predictor
from kidney_seg.modelfile import ModelSource
from kidney_seg.prediction_files import Outputs, check_source, is_done, write_outputs
from kidney_seg.prediction_inputs import Scan
from kidney_seg.predictor import Predictor
from kidney_seg.whole_volume import predict_slabs

if TYPE_CHECKING:
    import numpy as np

    from data_prep.volume import Volume


@dataclass(frozen=True)
class Job:
    """How scans are predicted: by the mean of `sources`, with these settings; engine: `keras` or `onnx`."""

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
        settings = asdict(self.settings)
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
) -> dict[str, Any]:
    """Read one scan, predict it, apply the paper's rule, and write what `outputs` names; return the record.

    What reading had to decide is said on standard error. image: as `_identity` gives it, if known; watch: as for
    `predict_slabs`. Errors as for `read_volume` and `write_outputs`; nothing is left of a scan that fails.
    """
    from data_prep.volume import read_volume

    check_source(outputs, scan.image)
    volume = read_volume(scan.image, scan.series)
    for note in volume.notes:
        print(f"note: {scan.name}: {note}", file=sys.stderr)
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
    from kidney_seg.postprocess import apply_rule
    from kidney_seg.review import describe

    settings, grid, spacing_mm = job.settings, job.sources[0].grid, volume.spacing_mm
    found = predict_slabs(job.predictor, volume, grid, with_percent=with_percent, watch=watch)
    limits = {"distance_mm": settings.distance_mm, "kidney_ml": settings.kidney_ml}
    labels, objects = found.labels, None
    if settings.postprocess:
        labels, objects = apply_rule(found.labels, spacing_mm, **limits)
    told = describe(found.labels, labels, objects, spacing_mm, volume.voxels, found.tumor_confidence, **limits)
    return labels, found.tumor_percent, told


def predict_scans(
    job: Job,
    scans: Sequence[tuple[Scan, Outputs]],
    *,
    force: bool = False,
    say: Callable[[str], None] = print,
) -> list[tuple[Scan, InputError]]:
    """Predict many scans and return those that failed, each with its error; the others are done.

    What is there already is left as it is if it is what would be made (`is_done`). What is there otherwise is replaced
    only with `force`; without it, InputError before the first scan. `say` gets a line for each scan.
    """
    from kidney_seg.review import summary_line

    for _, outputs in scans:
        if not force:
            is_done(outputs, job.made_by)
    failed = []
    for scan, outputs in progress(scans, "scans") if len(scans) > 1 else scans:
        try:
            image = _identity(scan)
            if _is_done(outputs, job.made_by, image, force):
                say(f"{outputs.labels}: was there already, whole and made in the same way")
                continue
            watch = (lambda slabs: progress(slabs, "batches of slices")) if len(scans) == 1 else iter
            say(f"{outputs.labels}: {summary_line(predict_scan(job, scan, outputs, image, watch))}")
        except InputError as error:
            failed.append((scan, error))
    return failed


def _is_done(outputs: Outputs, made_by: Mapping[str, Any], image: Mapping[str, Any], force: bool) -> bool:
    try:
        return is_done(outputs, made_by, image)
    except InputError:
        if not force:
            raise
        return False


def _identity(scan: Scan) -> dict[str, Any]:
    return {"sha256": checked_sha256(scan.image), "series": scan.series}
