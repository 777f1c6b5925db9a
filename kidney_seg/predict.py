"""Labels for whole volumes, on the input's own grid: `python -m kidney_seg.predict MODEL INPUT --out OUT`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.command import InputError, progress, run_command
from data_prep.files import checked_sha256
from data_prep.split import SETS
from kidney_seg.config import PredictionConfig
from kidney_seg.engines import ENGINES, choose_engine, open_predictor
from kidney_seg.modelfile import ModelSource, check_alike, find_accepted, find_source, load_model
from kidney_seg.prediction_files import Outputs, check_source, is_done, outputs_of, write_outputs
from kidney_seg.prediction_inputs import Scan, find_scans
from kidney_seg.predictor import Predictor, make_predictor
from kidney_seg.sections import FLIPS
from kidney_seg.whole_volume import finish_labels, predict_slabs, predict_volume

if TYPE_CHECKING:
    import numpy as np

    from data_prep.volume import Volume

__all__ = [
    "Job",
    "Predictor",
    "finish_labels",
    "load_model",
    "make_predictor",
    "predict_scan",
    "predict_scans",
    "predict_volume",
]

ACCEPTED = "accepted"


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


def main(argv: list[str] | None = None) -> int:
    """The command; see the module's first line."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.predict",
        description="Segment kidneys and tumors: labels 0 background, 1 kidney, 2 tumor on the input's own grid, and "
        "beside them a JSON file that tells volumes, objects, flags for review, models and settings. Run again, it "
        "goes on where it stopped. Ends with 0, or 2 where a scan could not be predicted (the others are).",
    )
    parser.add_argument("model", metavar="MODEL", help="run folder (its best model) or .keras file")
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="file (.nii.gz, .nii, .nrrd, .mha), folder of DICOM files, folder of cases, or @FILE: a text file that "
        "names one of these a line; or several of them",
    )
    parser.add_argument(
        "--out",
        required=True,
        help="label file (.nii.gz, ...) for one scan, or a folder for more; .dcm: see --dicom-seg",
    )
    parser.add_argument(
        "--ensemble",
        metavar="WHAT",
        nargs="+",
        help="average probabilities: `accepted` (all accepted rounds of the run folder MODEL), or further models",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="keras",
        help="what runs the network; auto: onnx where it is installed and there is no GPU (default: %(default)s)",
    )
    parser.add_argument("--flips", choices=FLIPS, help="mirrored slices averaged in (default: as the model's settings)")
    parser.add_argument(
        "--probabilities", action="store_true", help="keep the tumor's probability, in the folder tumor_probability"
    )
    parser.add_argument(
        "--dicom-seg", action="store_true", help="a DICOM SEG beside the labels of a DICOM series; so does --out X.dcm"
    )
    parser.add_argument("--series", help="of a folder of DICOM files: number or key, as data_prep.dicom lists them")
    parser.add_argument(
        "--images", metavar="P", help="pattern of a folder of cases, such as imagesTr/{case}_0000.nii.gz"
    )
    parser.add_argument("--split", metavar="FILE", help="CACHE/split.json: only the patients of one set")
    parser.add_argument("--part", choices=SETS, default="test", help="which set of --split (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace label files that are there already")
    parser.add_argument("--no-postprocess", action="store_true", help="leave distant objects in")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    scans, single = find_scans(arguments.inputs, arguments.images, arguments.split, arguments.part, arguments.series)
    made = list(zip(scans, _outputs(scans, single, arguments), strict=True))
    engine = choose_engine(arguments.engine)
    sources = _sources(arguments.model, arguments.ensemble or [])
    changes: dict[str, Any] = {"postprocess": False} if arguments.no_postprocess else {}
    if arguments.flips:
        changes["flips"] = arguments.flips
    job = Job(sources, replace(sources[0].config.prediction, **changes), engine)
    failed = predict_scans(job, made, force=arguments.force, say=_say)
    if single and failed:
        raise failed[0][1]
    if not single:
        print(
            f"{len(made) - len(failed)} label volumes in {arguments.out}" + (f", {len(failed)} failed" * bool(failed))
        )
    for scan, error in failed:
        print(f"error: {scan.name}: {error}", file=sys.stderr)
    return 2 if failed else 0


def _outputs(scans: Sequence[Scan], single: bool, arguments: argparse.Namespace) -> list[Outputs]:
    out, seg = Path(arguments.out), arguments.dicom_seg
    if not single:
        if out.is_file():
            raise InputError(f"--out {out}: is a file, expected a folder for the labels of {len(scans)} scans")
        files = [out / f"{scan.name}.nii.gz" for scan in scans]
    elif out.suffix == ".dcm":
        files, seg = [out.with_suffix(".nii.gz")], True
    else:
        files = [out]
    return [outputs_of(file, probabilities=arguments.probabilities, dicom_seg=seg) for file in files]


def _sources(model: str, ensemble: Sequence[str]) -> list[ModelSource]:
    if ACCEPTED in ensemble:
        if len(ensemble) > 1:
            raise InputError(f"--ensemble {' '.join(ensemble)}: expected `{ACCEPTED}` alone, or further models")
        return find_accepted(model)
    sources = [find_source(path) for path in (model, *ensemble)]
    check_alike(sources)
    return sources


def _say(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line)  # above a progress bar


if __name__ == "__main__":
    sys.exit(main())
