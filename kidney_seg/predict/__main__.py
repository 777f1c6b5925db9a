"""Command line of `python -m kidney_seg.predict`: segment scans."""

from __future__ import annotations

import argparse
import sys

from data_prep.cli import command
from data_prep.errors import InputError
from data_prep.scans import find_scans
from data_prep.split.sets import SETS, set_name
from kidney_seg.config.prediction import FLIPS
from kidney_seg.config.set_option import add_set_option, prediction_settings
from kidney_seg.hardware import add_device_option
from kidney_seg.postprocess.surfaces import FORMATS as SURFACE_FORMATS
from kidney_seg.predict.command import add_choice_options, choice_of, predict_and_report
from kidney_seg.predict.engines import ENGINES, make_job
from kidney_seg.predict.outputs import outputs_by_options


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.predict",
        description="Segment kidneys and tumors. Writes a label file (0 background, 1 kidney, 2 tumor) on the grid of "
        "the input, and a JSON file with volumes, objects, flags for review, models and settings; of a folder of "
        "scans also a table and a page with pictures. Run the same command again to resume: what is done is skipped. "
        "Exit code 0, or 2 if some scans could not be predicted; the others are written.",
        epilog="example: python -m kidney_seg.predict starter PACS_FOLDER --out RESULTS",
    )
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help="starter (the model that ships), a run folder (its best model), or a .keras file",
    )
    add(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="one or more of: file (.nii.gz, .nii, .nrrd, .mha), folder (every DICOM study and image in and below it "
        "is a scan), zip file of DICOM, or @FILE, a text file with one of these per line",
    )
    add(
        "--out",
        metavar="OUT",
        required=True,
        help="label file (.nii.gz, ...) for one scan, or folder for one or several, which also gets summary.csv and "
        "overview.html; X.dcm also writes X.nii.gz",
    )
    add(
        "--ensemble",
        metavar="MODEL",
        nargs="+",
        help="average probabilities: `accepted` (all accepted rounds of the run folder MODEL), or further models",
    )
    add(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="library that runs the network; auto: onnx if it is installed, the model's ONNX file exists and there is "
        "no GPU, else keras (default: %(default)s)",
    )
    add("--flips", choices=FLIPS, help="also predict mirrored slices and average (default: the model's settings)")
    add(
        "--zooms",
        metavar="Z,...",
        help="also predict resized slices and average, such as 1,1.15 (default: the model's settings)",
    )
    add(
        "--odds",
        metavar="B,K,T",
        help="factors on the odds of background, kidney and tumor; 1,1,8: fewer tumors are missed; 1,1,1: as trained "
        "(default: the model's settings)",
    )
    add_set_option(
        parser,
        "other settings of prediction than the model's, such as smooth_z_mm=4 (probabilities smoothed along z)",
        "prediction",
    )
    add("--probabilities", action="store_true", help="also write the tumor's probability, to tumor_probability/")
    add("--dicom-seg", action="store_true", help="also write a DICOM SEG beside the labels of a DICOM series")
    words = "also write the surfaces of kidney and tumor to surfaces/, in mm, LPS (extra `report`)"
    add("--surfaces", choices=SURFACE_FORMATS, help=words)
    add_choice_options(parser)
    add(
        "--images",
        metavar="PATTERN",
        help="where the images of a folder of cases are, such as imagesTr/{case}_0000.nii.gz",
    )
    add("--split", metavar="FILE", help="split file (CACHE/split.json): only the patients of one set")
    add("--part", type=set_name, choices=SETS, default="test", help="set of --split (default: %(default)s)")
    add("--shard", metavar="I/N", help="every N-th scan, starting with the I-th (0 to N-1): job arrays")
    add(
        "--scheduler", metavar="ADDRESS", help="predict on the workers of this Dask scheduler, such as tcp://node1:8786"
    )
    add("--jobs", metavar="N", type=int, default=1, help="scans at once, as far as memory allows (default: 1)")
    add_device_option(parser)
    add("--force", action="store_true", help="predict again what is done, and replace label files that exist")
    add("--no-postprocess", action="store_true", help="keep objects far from the kidneys")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Predict all scans; 2 if one failed."""
    scans, single = find_scans(arguments.inputs, choice_of(arguments))
    outputs, folder = outputs_by_options(scans, single, arguments)
    if arguments.shard:
        if single:
            raise InputError(f"--shard {arguments.shard}: is for a folder of cases or a list, found one scan")
        from data_prep.parallel.shards import parse

        shard = parse(arguments.shard)
        scans, outputs = shard.pick(scans), shard.pick(outputs)
    texts = {name: getattr(arguments, name) for name in ("flips", "zooms", "odds")}
    texts["postprocess"] = "false" if arguments.no_postprocess else None
    settings = prediction_settings([*(f"{name}={text}" for name, text in texts.items() if text), *arguments.set])
    job = make_job(
        arguments.model,
        arguments.ensemble or [],
        arguments.engine,
        settings,
        on_workers=bool(arguments.scheduler),
        device=arguments.device,
    )
    return predict_and_report(
        job, scans, outputs, folder, force=arguments.force, jobs=arguments.jobs, scheduler=arguments.scheduler
    )


if __name__ == "__main__":
    sys.exit(main())
