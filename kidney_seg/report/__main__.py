"""Command line of `python -m kidney_seg.report`."""

from __future__ import annotations

import argparse
import sys

from data_prep.cli import command
from data_prep.errors import InputError
from kidney_seg.report.writer import NAME, is_batch, write_report
from kidney_seg.results import write_results


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.report",
        description="Write one HTML file about a finished run, an evaluation, or predictions without truth: Table 1 "
        "with intervals, beside published figures where the patients are of the same kind, learning curves, Dice by "
        "patient and by tumor size, detection by size, the best, median and worst patients in 3-D, and every case by "
        "slice. Of a folder of predictions, without --images: its table and page (summary.csv, overview.html). It "
        "opens without a network.",
        epilog="example: python -m kidney_seg.report PREDICTIONS/evaluation --truth kits",
    )
    option = parser.add_argument
    option("folder", metavar="RUN", help="run folder, or the folder that evaluate or predict wrote")
    option("--out", metavar="FILE", help=f"HTML file to write (default: {NAME} in the folder)")
    option("--truth", metavar="DIR", help="for the pictures of an evaluation: labels, as evaluate takes them")
    words = "for the pictures: folder of case folders, of NAME.nii.gz or NAME_0000.nii.gz, or of DICOM folders"
    option("--images", metavar="DIR", help=f"{words} (default: the folder of --truth)")
    words = "of every case, to page through; 0 for none (default: 24, fewer of many cases)"
    option("--slices", metavar="N", type=int, help=words)
    option("--predictions", metavar="DIR", help="with --truth: label files (default: the folder above the evaluation)")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.images is None and is_batch(arguments.folder):
        if arguments.out or arguments.truth or arguments.predictions:
            raise InputError(
                "--out, --truth and --predictions: are for a run or an evaluation, found a folder of predictions, "
                "whose table and page lie in it",
                path=arguments.folder,
            )
        print(*write_results(arguments.folder), sep="\n")
        return 0
    path = write_report(
        arguments.folder,
        arguments.out,
        truth=arguments.truth,
        predictions=arguments.predictions,
        images=arguments.images,
        slices=arguments.slices,
        log=lambda line: print(line, flush=True),
    )
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
