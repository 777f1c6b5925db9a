"""Command line of `python -m data_prep.dicom`: list the studies and series of a folder or a zip file of DICOM files."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from data_prep.cli import command
from data_prep.dicom.archives import unpacked
from data_prep.dicom.choice import choose_series
from data_prep.dicom.headers import FolderScan, scan_folder
from data_prep.dicom.listing import list_for_screen
from data_prep.dicom.studies import find_studies, is_packed
from data_prep.errors import InputError
from data_prep.files.names import printable
from data_prep.files.regular_files import regular_files


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.dicom",
        description="List the series of a folder or a zip file of DICOM files, study by study, and the one that is "
        "read of each: slices, folder, description, thickness, distance and kernel, start after the first scan, and a "
        "guess of the contrast phase. Names, IDs and UIDs are not printed; descriptions and folders are, and may hold "
        "anything: keep the list on the screen.",
        epilog="example: python -m data_prep.dicom scans/0001",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of DICOM files, and of zip files of these")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """List the series of a folder of DICOM files, what tells them apart, and the one that is read."""
    root: Path = options.folder
    packed = is_packed(root) and root.is_file()
    archives = [root] if packed else [path for path in regular_files(root)[0] if is_packed(path)]
    found, unread = ([], []) if packed else _studies(root)
    if not found and not archives:
        choose_series(scan_folder(root), None)  # says what is there instead
    several = len(found) + len(unread) + len(archives) > 1
    for scan in found:
        _show(scan, "", several)
    for error in unread:
        print(f"not read: {error}")
    for archive in archives:
        name = f"{archive.name if packed else archive.relative_to(root)}: "
        try:
            with unpacked(archive) as folder:
                inside, _ = _studies(folder)
                if not inside:
                    raise InputError("holds no DICOM image; expected those of a CT", archive)
                for scan in inside:
                    _show(scan, name, several or len(inside) > 1)
        except InputError as error:
            if not several:
                raise InputError(error.detail, archive, error.code) from None
            print(f"{printable(name)}not read: {error.detail}")
    return 0


def _studies(root: Path) -> tuple[list[FolderScan], list[InputError]]:
    studies, errors = find_studies(regular_files(root)[0], root=root)
    return [replace(study.scan, folder=root) for study in studies], errors


def _show(scan: FolderScan, place: str, several: bool) -> None:
    """Print one study: its series, and which of them is read. InputError if none can be, unless there are `several`."""
    if several:
        count = len(scan.images)
        print(f"{printable(place)}study of {count} {'image' if count == 1 else 'images'}")
    print("\n".join(list_for_screen(scan)))
    try:
        chosen, notes = choose_series(scan, None)
    except InputError as error:
        if not several:
            raise
        print(f"Not read: {error.detail}")
        return
    print("\n".join([f"Read without --series: {chosen.number}", *notes]))


if __name__ == "__main__":
    sys.exit(main())
