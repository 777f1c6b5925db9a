"""Command line of `python -m data_prep.dicom`: list the series of a folder of DICOM files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_prep.cli import command
from data_prep.dicom.choice import choose_series
from data_prep.dicom.headers import scan_folder
from data_prep.dicom.series import series_of


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.dicom",
        description=main.__doc__,
        epilog="example: python -m data_prep.dicom scans/0001",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of DICOM files")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """List the series of a folder of DICOM files and the one that is read; print nothing that identifies a patient."""
    scan = scan_folder(options.folder)
    for one in series_of(scan):
        print(one)
    chosen, notes = choose_series(scan, None)
    print("\n".join([f"Read without --series: {chosen.number}", *notes]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
