"""A run, or an evaluation, as one HTML file that opens without a network: `python -m kidney_seg.report RUN`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from data_prep.command import InputError, run_command
from data_prep.files import replacing

NAME = "report.html"


def write_report(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    truth: str | Path | None = None,
    predictions: str | Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the report of a finished run, or of a folder that evaluate wrote; return its path.

    `out`: the file, `report.html` in the folder without it; replaced where it is there. `truth`, `predictions`: for the
    pictures of an evaluation, see `report_data.gather`. InputError where the folder is neither, or a run that is not
    finished; scans and labels that are gone are said in the report.
    """
    from kidney_seg.report_data import gather
    from kidney_seg.report_page import page

    out = Path(out) if out is not None else Path(folder) / NAME
    if out.suffix not in (".html", ".htm"):
        raise InputError(f"{out}: expected the name of an HTML file, such as {NAME}")
    text = page(gather(folder, truth, predictions), say)
    with replacing(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return out


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.report",
        description="Write one HTML file about a finished run, or about an evaluation: Table 1 with intervals beside "
        "published figures, learning curves, Dice by patient and by tumor size, detection by size, and the best, "
        "median and worst patients as slices and in 3-D. It opens without a network.",
    )
    parser.add_argument("folder", metavar="RUN", help="run folder, or the folder that kidney_seg.evaluate wrote")
    parser.add_argument("--out", metavar="FILE", help=f"default: {NAME} in the folder")
    parser.add_argument(
        "--truth", metavar="FOLDER", help="for the pictures of an evaluation: cases with imaging and segmentation"
    )
    parser.add_argument(
        "--predictions",
        metavar="FOLDER",
        help="with --truth: the label files (default: the folder above the evaluation)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """The command; see the module's first line."""
    arguments = make_parser().parse_args(argv)
    return run_command(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    path = write_report(
        arguments.folder,
        arguments.out,
        truth=arguments.truth,
        predictions=arguments.predictions,
        say=lambda line: print(line, flush=True),
    )
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
