"""Command line of `python -m data_prep.split`."""

from __future__ import annotations

import argparse
import sys

from data_prep.cache.manifest import Manifest, read_manifest
from data_prep.cli import command
from data_prep.split.sets import FRACTIONS, SPLIT, make_split, table, write_split


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.split",
        description="Divide a cache's labelled patients into train, selection and test; writes CACHE/split.json, or "
        "with --folds CACHE/folds/fold0.json and so on, in which every patient is tested once.",
    )
    parser.add_argument("cache", metavar="CACHE", help="folder made by python -m data_prep.build")
    parser.add_argument(
        "--fractions",
        type=float,
        nargs=3,
        default=FRACTIONS,
        metavar=("TRAIN", "SELECTION", "TEST"),
        help="shares of the patients, sum 1 (default: 0.7 0.1 0.2); with --folds K test has 1 / K, and the first two "
        "are the proportion of the rest",
    )
    parser.add_argument("--folds", type=int, metavar="K", help="K splits for cross-validation instead of one")
    parser.add_argument("--seed", type=int, default=0, help="decides who goes where (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace a split, or folds, that are there")
    return parser


@command(make_parser)
def main(args: argparse.Namespace) -> int:
    """Run the command; see `python -m data_prep.split --help`."""
    manifest = read_manifest(args.cache)
    if args.folds is not None:
        return _write_folds(manifest, args)
    split = make_split(manifest, args.fractions, args.seed)
    written = write_split(manifest, split, force=args.force)
    print(table(manifest, split))
    print(f"{manifest.root / SPLIT}: " + ("written" if written else "is there already, the same"))
    return 0


def _write_folds(manifest: Manifest, args: argparse.Namespace) -> int:
    from data_prep.split.folds import make_folds, write_folds  # which needs this module

    splits = make_folds(manifest, args.folds, args.fractions, args.seed)
    for path, split in zip(write_folds(manifest, splits, force=args.force), splits, strict=True):
        print(path)
        print(table(manifest, split))
    return 0


if __name__ == "__main__":
    sys.exit(main())
