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
        description="Write one HTML file about a finished run, or about an evaluation, or the table and the page of a "
        "folder of predictions (summary.csv, overview.html). Of a run or an evaluation: Table 1 with intervals beside "
        "published figures, learning curves, Dice by patient and by tumor size, detection by size, and the best, "
        "median and worst patients as slices and in 3-D. It opens without a network.",
        epilog="example: python -m kidney_seg.report PREDICTIONS/evaluation --truth kits",
    )
    option = parser.add_argument
    option("folder", metavar="RUN", help="run folder, or the folder that kidney_seg.evaluate or predict wrote")
    option("--out", metavar="FILE", help=f"HTML file to write (default: {NAME} in the folder)")
    option("--truth", metavar="DIR", help="for the pictures of an evaluation: folder of cases with images and labels")
    option("--predictions", metavar="DIR", help="with --truth: label files (default: the folder above the evaluation)")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if is_batch(arguments.folder):
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
        log=lambda line: print(line, flush=True),
    )
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
