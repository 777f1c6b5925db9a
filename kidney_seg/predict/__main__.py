"""Labels for whole volumes, on the input's own grid: `python -m kidney_seg.predict MODEL INPUT --out OUT`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_prep.cli import command
from data_prep.errors import InputError, require
from data_prep.parallel.shards import parse
from data_prep.split.sets import SETS, set_name
from kidney_seg.config.prediction import FLIPS
from kidney_seg.config.run_config import Config
from kidney_seg.model.model_file import find_ensemble
from kidney_seg.predict.engines import ENGINES, choose_engine
from kidney_seg.predict.inputs import Scan, find_scans
from kidney_seg.predict.outputs import Outputs, outputs_of
from kidney_seg.predict.scans import Job, predict_scans


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
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
        "--zooms", metavar="Z,...", help="resized slices averaged in, such as 1,1.15 (default: as settings)"
    )
    parser.add_argument(
        "--odds",
        metavar="B,K,T",
        help="factors on the odds of background, kidney and tumor, instead of the model's own; 1,1,1: as trained",
    )
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
    parser.add_argument(
        "--part", type=set_name, choices=SETS, default="test", help="which set of --split (default: %(default)s)"
    )
    parser.add_argument(
        "--shard", metavar="I/N", help="only every N-th scan, from the I-th on (0 to N-1): for job arrays"
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="predict on the workers of this Dask scheduler, such as tcp://node1:8786"
    )
    parser.add_argument("--force", action="store_true", help="replace label files that are there already")
    parser.add_argument("--no-postprocess", action="store_true", help="leave distant objects in")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """The command; see the module's first line."""
    scans, single = find_scans(arguments.inputs, arguments.images, arguments.split, arguments.part, arguments.series)
    if arguments.shard:
        if single:
            raise InputError(f"--shard {arguments.shard}: is for a folder of cases or a list, found one scan")
        scans = parse(arguments.shard).pick(scans)
    made = list(zip(scans, _outputs(scans, single, arguments), strict=True))
    # workers choose for themselves: the host that asks may be without what they have
    engine = arguments.engine if arguments.scheduler else choose_engine(arguments.engine)
    if any(outputs.seg for _, outputs in made):
        require("highdicom", "dicom")  # before hours of work, not after
    sources = find_ensemble(arguments.model, arguments.ensemble or [])
    changes: dict[str, Any] = {"postprocess": False} if arguments.no_postprocess else {}
    if arguments.flips:
        changes["flips"] = arguments.flips
    for name in ("zooms", "odds"):
        if text := getattr(arguments, name):
            changes[name] = getattr(Config().with_settings([f"{name}={text}"]).prediction, name)
    job = Job(sources, replace(sources[0].config.prediction, **changes), engine)
    failed = predict_scans(job, made, force=arguments.force, scheduler=arguments.scheduler, say=_say)
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


def _say(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line)  # above a progress bar


if __name__ == "__main__":
    sys.exit(main())
