"""Judge a model on whole scans: `python -m benchmarks.whole_scans FOLDER --model MODEL`; see `--help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.whole_scans.measures import SINUS_MM, measure
from benchmarks.whole_scans.results import draw, format_table, summarize, write_results
from benchmarks.whole_scans.scans import WholeScan, find_whole_scans, unpacked
from data_prep.cli import command, progress
from data_prep.errors import InputError
from data_prep.files.outputs import check_outputs, has_keys, has_text
from kidney_seg.config.set_option import add_set_option, prediction_settings
from kidney_seg.figures.style import is_picture
from kidney_seg.predict.engines import ENGINES, Job, make_job


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.whole_scans",
        description="Predict whole scans as kidney_seg.predict does and judge the labels. With true labels: Dice, "
        "distances of surfaces, tumors found; kidney Dice also with the truth's renal sinus filled (each axial slice "
        f"of each kidney closed with a disk of {SINUS_MM:g} mm, holes filled). Of all: the false tumors, above, at and "
        "below the kidneys. Exit code 2 if some scans could not be read; the others are judged.",
        epilog="example: python -m benchmarks.whole_scans SCANS --model RUN --set smooth_z_mm=4 rule=anchored",
    )
    add = parser.add_argument
    add(
        "folder",
        metavar="FOLDER",
        help="folder of cases, of image files, or of DICOM folders or zips; or one file or DICOM folder",
    )
    add("--model", metavar="MODEL", required=True, help="run folder (its best model) or .keras file")
    add("--ensemble", metavar="MODEL", nargs="+", help="average with these models, as predict --ensemble does")
    add("--engine", choices=ENGINES, default="auto", help="library that runs the network (default: %(default)s)")
    add_set_option(
        parser, "other settings of prediction than the model's, such as smooth_z_mm=4 or rule=anchored", "prediction"
    )
    add("--healthy", action="store_true", help="scans without labels have no tumor; otherwise they are left out")
    add("--truth", metavar="DIR", help="label files by the scans' names, for scans without labels beside them")
    add("--images", metavar="PATTERN", help="where the images of the folder are, such as imagesTr/{case}_0000.nii.gz")
    add("--labels", metavar="PATTERN", help="with --images: where the labels are")
    add(
        "--out",
        metavar="DIR",
        type=Path,
        help="write scans.csv, scans.json and a picture of each scan into this folder",
    )
    add("--force", action="store_true", help="replace the results in --out")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """Judge all scans; 2 if one failed."""
    scans = find_whole_scans(options.folder, options.images, options.labels, options.truth)
    judged = [scan for scan in scans if scan.labels is not None or options.healthy]
    if not judged:
        raise InputError(
            f"none of {len(scans)} scans has labels; give --truth, or --healthy if none has a tumor",
            path=options.folder,
        )
    left_out = [scan.name for scan in scans if scan not in judged]
    if left_out:
        print(f"note: left out, without labels and --healthy: {', '.join(left_out)}", file=sys.stderr)
    _check_out(options.out, judged, options.force)
    job = make_job(options.model, options.ensemble or [], options.engine, prediction_settings(options.set))
    rows, failed = [], []
    for scan in progress(judged, "scans"):
        try:
            rows.append(_judge(scan, job, options.out))
        except InputError as error:
            failed.append(f"{scan.name}: {error}")
    if rows:
        summary = summarize(rows)
        print(format_table(rows, summary))
        if options.out:
            details = {"made_by": job.made_by, "sinus_mm": SINUS_MM, "left_out": left_out, "failed": failed}
            for path in write_results(rows, summary, details, options.out):
                print(f"wrote {path}")
    for line in failed:
        print(f"error: {line}", file=sys.stderr)
    return 2 if failed else 0


def _check_out(out: Path | None, scans: Sequence[WholeScan], force: bool) -> None:
    if out is None:
        return
    inputs = [path for scan in scans for path in (scan.image, scan.labels) if path is not None]
    files = {
        out / "scans.csv": has_text(b"scan,slices,slice_mm"),
        out / "scans.json": has_keys("schema", "scans", "summary"),
        **{out / f"{scan.name}.png": is_picture for scan in scans},
    }
    for path, ours in files.items():
        if path.exists() and not force:
            raise InputError("exists; choose another --out, or replace it with --force", path=path, code="exists")
        check_outputs([path], inputs, ours)


def _judge(scan: WholeScan, job: Job, out: Path | None) -> dict[str, Any]:
    """Return the row of one scan, and draw its picture into `out`."""
    from data_prep.geometry.placement import place_labels
    from data_prep.volume import read_labels, read_volume
    from kidney_seg.predict.predictor import finish_labels, predict_slabs

    truth = None
    with unpacked(scan.image) as image:
        volume = read_volume(image)
    if scan.labels is not None:
        truth = place_labels(read_labels(scan.labels), volume.source).voxels
    before = predict_slabs(job.predictor, volume, job.sources[0].grid).labels
    predicted = finish_labels(before, volume.spacing_mm, job.settings)
    figures = measure(truth, predicted, volume.spacing_mm, before if job.settings.postprocess else None)
    row = {"scan": scan.name, "slices": len(volume.voxels), "slice_mm": float(volume.spacing_mm[0]), **figures}
    if out is not None:
        draw(volume, truth, predicted, row, out / f"{scan.name}.png")
    return row


if __name__ == "__main__":
    sys.exit(main())
