"""Command line of `python -m data_prep.check`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_prep.check.cache import check_cache, is_cache
from data_prep.check.folder import check_folder
from data_prep.cli import command
from data_prep.files.json_files import write_json
from data_prep.files.outputs import check_folder as check_place_of
from data_prep.files.outputs import check_outputs, has_keys


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.check",
        description="Find problems in a folder of CT cases, or in a cache, case by case, and how to fix them. Changes "
        "nothing. Exit code 0 if there are no warnings or errors, 1 if there are, 2 if the folder cannot be checked. "
        "All codes: docs/howto/data_check.md.",
        epilog="example: python -m data_prep.check kits23/dataset --json report.json --jobs 4",
    )
    add = parser.add_argument
    add("folder", metavar="DIR", help="folder of cases, one case folder, or a cache")
    add("--images", metavar="PATTERN", help="such as 'imagesTr/{case}_0000.nii.gz' (default: the KiTS layout)")
    add("--labels", metavar="PATTERN", help="such as 'labelsTr/{case}.nii.gz', only with --images")
    add("--json", metavar="FILE", help="also write all findings and the facts of every case")
    add("--size", metavar="N", type=int, default=256, help="pixels per side of a future cache (default: %(default)s)")
    add("--pixel-mm", metavar="MM", type=float, help="its fixed pixel size (default: the whole image fits)")
    words = "count it as an error where such a cache would lose more than 1 %% of a case's kidney or tumor"
    add("--strict", action="store_true", help=words)
    add("--cache", metavar="CACHE", help="where it would be written (default: the disk of DIR)")
    add("--jobs", metavar="N", type=int, default=1, help="processes (default: %(default)s)")
    return parser


@command(make_parser)
def main(args: argparse.Namespace) -> int:
    """Run the command; see `python -m data_prep.check --help`."""
    folder = Path(args.folder)
    if args.cache:
        check_place_of(args.cache)
    if args.json:
        check_outputs([args.json], ours=has_keys("schema", "root", "kind", "findings"))
    if args.images is None and args.labels is None and folder.is_dir() and is_cache(folder):
        report = check_cache(folder, strict=args.strict)
    else:
        report = check_folder(
            folder,
            args.images,
            args.labels,
            size=args.size,
            cache=args.cache,
            jobs=args.jobs,
            pixel_mm=args.pixel_mm,
            strict=args.strict,
        )
    print(report)
    if report.kind == "cases":
        needed, free = (report.summary[name] / 1e9 for name in ("cache_bytes", "free_bytes"))
        print(f"a cache at {args.size} pixels needs about {needed:.2g} GB; {free:.3g} GB are free")
    if args.json:
        write_json(args.json, report.as_json())
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
