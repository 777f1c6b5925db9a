"""Command line of `python -m data_prep.split`."""

from __future__ import annotations

import argparse
import sys

from data_prep.cache.manifest import read_manifest
from data_prep.cli import command
from data_prep.split.folds import make_folds, write_folds
from data_prep.split.sets import FRACTIONS, SPLIT, format_split, make_split, write_split


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.split",
        description="Divide a cache's labelled patients into train, validation and test; writes CACHE/split.json, or "
        "with --folds CACHE/folds/fold0.json and so on, in which every patient is tested once.",
        epilog="example: python -m data_prep.split data/cache --fractions 0.7 0.1 0.2 --seed 1",
    )
    add = parser.add_argument
    add("cache", metavar="CACHE", help="folder made by python -m data_prep.build")
    names = ("TRAIN", "VALIDATION", "TEST")
    words = "shares of the patients, sum 1; with --folds, TEST is 1 / N (default: 0.7 0.1 0.2)"
    add("--fractions", type=float, nargs=3, default=FRACTIONS, metavar=names, help=words)
    add("--folds", type=int, metavar="N", help="N splits for cross-validation (default: one split)")
    add("--seed", type=int, metavar="S", default=0, help="of the shuffling (default: %(default)s)")
    add("--force", action="store_true", help="replace an existing split, or folds")
    return parser


@command(make_parser)
def main(args: argparse.Namespace) -> int:
    """Run the command; see `python -m data_prep.split --help`."""
    manifest = read_manifest(args.cache)
    if args.folds is not None:
        splits = make_folds(manifest, args.folds, args.fractions, args.seed)
        for path, split in zip(write_folds(manifest, splits, force=args.force), splits, strict=True):
            print(path)
            print(format_split(manifest, split))
        return 0
    split = make_split(manifest, args.fractions, args.seed)
    written = write_split(manifest, split, force=args.force)
    print(format_split(manifest, split))
    print(f"{manifest.root / SPLIT}: " + ("written" if written else "the same split exists"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
