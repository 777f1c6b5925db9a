"""Command line of `python -m data_prep.download`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from data_prep.cli import command
from data_prep.download.sources import MEGABYTES_PER_CASE, SOURCES, Source, choose_cases, spans
from data_prep.files.outputs import check_folder


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.download",
        description="Download a KiTS data set, whole and verified. Run the same command again to resume, also within a "
        "file. Exit code 0; 1 if files are missing (one line each); 2 for bad input or a full disk.",
        epilog="example: python -m data_prep.download kits23 --out KITS --cases 0-9 --accept-license",
    )
    add = parser.add_argument
    add("dataset", choices=list(SOURCES), help="which challenge's labels; the images are the same")
    add("--out", metavar="KITS", required=True, help="folder to write to; made if absent")
    add("--cases", metavar="NUMBERS", help="such as 0-9,160 (default: all)")
    add("--jobs", metavar="N", type=int, default=4, help="files at a time (default: %(default)s)")
    add("--mirror", metavar="URL", help="another place with case_NNNNN/imaging.nii.gz and labels; also file:///folder")
    add("--accept-license", action="store_true", help="accept the license that is shown (once for a folder)")
    return parser


USUAL_RATE = 10e6  # bytes a second, of a line of 100 Mbit/s


class _Bars:
    """A bar with the bytes received, their rate, and the number of files done and missing."""

    def __init__(self, files: int) -> None:
        self.files, self.ended, self.failed = files, 0, 0
        self._told: set[str] = set()

    @cached_property
    def _bar(self) -> Any:  # only when something arrives: a refusal needs none
        from tqdm import tqdm

        return tqdm(unit="B", unit_scale=True, desc="download", mininterval=0.2 if sys.stderr.isatty() else 10.0)

    def received(self, count: int) -> None:
        self._bar.update(count)

    def done(self, failed: bool) -> None:
        self.ended, self.failed = self.ended + 1, self.failed + failed
        left = ""
        if seconds := self._bar.format_dict["elapsed"]:
            minutes = seconds / self.ended * (self.files - self.ended) / 60
            left = f", about {minutes:.0f} min left"
        self._bar.set_postfix_str(f"{self.ended} of {self.files} files, {self.failed} missing{left}")

    def told(self, why: str) -> None:
        """Print a reason for which nothing arrives, once."""
        if why not in self._told:
            self._told.add(why)
            self._bar.write(f"{why}; trying again after a pause", file=sys.stderr)

    def close(self) -> None:
        if "_bar" in self.__dict__:
            self._bar.close()


def _plan(source: Source, numbers: Sequence[int], out: Path) -> str:
    """Return what a download brings, its size and its time, in one line."""
    from data_prep.download.room import free_bytes

    absent = sum(
        any(not (out / f"case_{number:05d}" / name).exists() for name in source.files(number)) for number in numbers
    )
    told = f"{source.title}, {source.revision}: {len(numbers)} cases, {absent} of them to download"
    if absent:
        needed = absent * MEGABYTES_PER_CASE * 10**6
        told += f", about {needed / 1e9:.1f} GB ({free_bytes(out) / 1e9:.1f} GB are free)"
        minutes = max(1, round(needed / USUAL_RATE / 60))
        told += f" and {minutes} {'minute' if minutes == 1 else 'minutes'} at {USUAL_RATE / 1e6:.0f} MB a second"
    return told


@command(make_parser)
def main(args: argparse.Namespace) -> int:
    """Run the command; see `python -m data_prep.download --help`."""
    from data_prep.download.cases import download_kits
    from data_prep.download.records import is_accepted
    from data_prep.download.transfer import Retry

    source = SOURCES[args.dataset]
    numbers = choose_cases(source, args.cases)
    check_folder(args.out)
    print(_plan(source, numbers, Path(args.out)))
    if args.accept_license and not is_accepted(args.out):
        print(source.license)
    bars = _Bars(sum(len(source.files(number)) for number in numbers))
    try:
        outcome = download_kits(
            args.dataset,
            args.out,
            numbers,
            accept_license=args.accept_license,
            mirror=args.mirror,
            jobs=args.jobs,
            retry=Retry(told=bars.told),
            bar=bars,
        )
    finally:
        bars.close()
    for line in outcome.missing:
        print(f"missing: {line}", file=sys.stderr)
    whole = "all of the data set" if len(numbers) == len(source.cases) else f"cases {spans(numbers)}"
    print(f"{args.out}: {outcome.made} files made, {outcome.kept} kept, {len(outcome.missing)} missing ({whole})")
    return 1 if outcome.missing else 0


if __name__ == "__main__":
    sys.exit(main())
