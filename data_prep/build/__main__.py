"""Command line of `python -m data_prep.build`."""

from __future__ import annotations

import argparse
import sys

from data_prep.build.builder import build
from data_prep.cache.manifest import MANIFEST, Manifest
from data_prep.cli import command
from data_prep.geometry.network_grid import GridSettings
from data_prep.parallel.shards import parse


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.build",
        description="Build the HDF5 cache of a folder of CT cases (KiTS layout: case_NNNNN/imaging.nii.gz and "
        "segmentation.nii.gz). Run the same command again to resume. Exit code 0, 1 with --strict if labels are lost, "
        "or 2 if a case could not be used (the others are built).",
        epilog="example: python -m data_prep.build kits23/dataset --cache data/cache --jobs 4",
    )
    add = parser.add_argument
    add("source", metavar="DIR", help="folder of case folders, or one case folder")
    add("--cache", metavar="CACHE", required=True, help="folder to write to; made if absent")
    add("--images", metavar="PATTERN", help="such as 'imagesTr/{case}_0000.nii.gz' (default: the KiTS layout)")
    add("--labels", metavar="PATTERN", help="such as 'labelsTr/{case}.nii.gz', only with --images")
    add("--size", metavar="N", type=int, default=256, help="pixels per side, multiple of 16 (default: %(default)s)")
    add("--pixel-mm", metavar="MM", type=float, help="fixed pixel size (default: the whole image fits)")
    add("--jobs", metavar="N", type=int, default=1, help="processes (default: %(default)s)")
    add(
        "--rebuild", action="store_true", help="rebuild a cache that was built with other settings or from other images"
    )
    words = "name cases and patients after their images' hashes; only CACHE/sources.json then identifies them"
    add("--pseudonyms", action="store_true", help=words)
    words = "name of the patients' cohort, such as 'hospital A' (default: simulated, KiTS or other, by files and names)"
    add("--cohort", metavar="TEXT", help=words)
    words = "fail where more than 1 %% of a case's kidney or tumor lies outside the field or vanishes on the grid"
    add("--strict", action="store_true", help=words)
    words = "build only part I of N of the cases, I from 0; the last part to finish writes the manifest"
    add("--shard", metavar="I/N", help=words)
    words = "build on the workers of this Dask scheduler, such as tcp://node1:8786"
    add("--scheduler", metavar="ADDRESS", help=words)
    return parser


@command(make_parser)
def main(args: argparse.Namespace) -> int:
    """Run the command; see `python -m data_prep.build --help`."""
    result = build(
        args.source,
        args.cache,
        GridSettings(args.size, args.pixel_mm),
        args.jobs,
        images=args.images,
        labels=args.labels,
        rebuild=args.rebuild,
        pseudonyms=args.pseudonyms,
        shard=parse(args.shard) if args.shard else None,
        scheduler=args.scheduler,
        cohort=args.cohort,
    )
    for line in result.problems:
        print(f"note: {line}")
    for text in result.tracebacks:
        print(text, file=sys.stderr)
    for line in result.failures:
        print(f"error: {line}", file=sys.stderr)
    for line in result.losses:
        print(f"{'error' if args.strict else 'warning'}: {line}", file=sys.stderr)
    done = f"({result.made} made, {result.kept} kept, {len(result.failures)} failed)"
    if result.manifest is None:
        print(f"{args.cache}: shard {args.shard} is done {done}; the last shard writes {MANIFEST}")
    else:
        entries = result.manifest.entries
        print(
            f"{result.manifest.root / MANIFEST}: {len(entries)} cases of "
            f"{len({e.patient for e in entries})} patients, "
            f"{sum(e.slices for e in entries)} slices, {sum(e.labelled for e in entries)} cases labelled {done}"
        )
        print(f"cohort: {result.manifest.cohort} (to name another: --cohort)")
        print(_losses(result.manifest))
    return 2 if result.failures else int(args.strict and bool(result.losses))


def _losses(manifest: Manifest) -> str:
    """Return one line: how many cases lose labels on this grid, and what a perfect network reaches."""
    known = [entry.loss for entry in manifest.entries if entry.loss is not None]
    if not known:
        return "labels: none, so nothing is known of what the grid loses"
    losing = sum(any(True for _ in loss.lines()) for loss in known)
    dice = ", ".join(f"{name} {value:.3f}" for name, value in manifest.ceiling.items() if value is not None)
    text = f"labels: {losing} of {len(known)} cases lose some on this grid (manifest.json says how much)"
    return text + (f"; Dice of a perfect network: {dice}" if dice else "")


if __name__ == "__main__":
    sys.exit(main())
