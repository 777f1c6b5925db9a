"""Command line of `python -m data_prep.dicom`: list the series of a folder of DICOM files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_prep.cli import command
from data_prep.dicom.choice import choose_series
from data_prep.dicom.headers import scan_folder
from data_prep.dicom.listing import list_for_screen


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.dicom",
        description="List the series of a folder of DICOM files and the one that is read: slices, folder, description, "
        "thickness, distance and kernel, start after the first scan, and a guess of the contrast phase. Names, IDs and "
        "UIDs are not printed; descriptions are, and may hold anything: keep the list on the screen.",
        epilog="example: python -m data_prep.dicom scans/0001",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of DICOM files")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """List the series of a folder of DICOM files, what tells them apart, and the one that is read."""
    scan = scan_folder(options.folder)
    print("\n".join(list_for_screen(scan)))
    chosen, notes = choose_series(scan, None)
    print("\n".join([f"Read without --series: {chosen.number}", *notes]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
