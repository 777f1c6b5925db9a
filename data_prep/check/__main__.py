"""Command line of `python -m data_prep.check`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_prep.check.cache import check_cache, is_cache
from data_prep.check.findings import table
from data_prep.check.folder import check_folder
from data_prep.cli import command
from data_prep.files.json_files import write_json


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.check",
        description="Name what is amiss in a folder of CT cases, or in a cache (a folder with manifest.json). Changes "
        "nothing. Ends with 0 where there is nothing or only notes, 1 with warnings or errors, 2 where the folder "
        "cannot be checked. What each code means: docs/howto/data_check.md.",
    )
    parser.add_argument("folder", metavar="DIR", help="folder of cases, one case folder, or a cache")
    parser.add_argument(
        "--images", metavar="P", help="pattern of images below DIR, such as imagesTr/{case}_0000.nii.gz"
    )
    parser.add_argument("--labels", metavar="P", help="pattern of labels below DIR, such as labelsTr/{case}.nii.gz")
    parser.add_argument("--json", metavar="FILE", help="write the findings and facts of every case here, too")
    parser.add_argument("--size", type=int, default=256, help="pixels a side of a cache to come (default: %(default)s)")
    parser.add_argument("--cache", metavar="DIR", help="where that cache would be written (default: the disk of DIR)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    return parser


@command(make_parser)
def main(args: argparse.Namespace) -> int:
    """Run the command; see `python -m data_prep.check --help`."""
    folder = Path(args.folder)
    if args.images is None and args.labels is None and folder.is_dir() and is_cache(folder):
        report = check_cache(folder)
    else:
        report = check_folder(folder, args.images, args.labels, size=args.size, cache=args.cache, jobs=args.jobs)
    if args.json:
        write_json(args.json, report.as_json())
    print(table(report))
    if report.kind == "cases":
        needed, free = (report.summary[name] / 1e9 for name in ("cache_bytes", "free_bytes"))
        print(f"a cache at {args.size} pixels needs about {needed:.2g} GB; {free:.3g} GB are free")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
