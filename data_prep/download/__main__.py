"""Command line of `python -m data_prep.download`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from data_prep.cli import command
from data_prep.download.sources import MEGABYTES_PER_CASE, SOURCES, choose_cases, spans


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


class _Bars:
    """A bar with the bytes received, their rate, and the number of files done and missing."""

    def __init__(self, files: int) -> None:
        from tqdm import tqdm

        live = sys.stderr.isatty()
        self._bar: Any = tqdm(unit="B", unit_scale=True, desc="download", mininterval=0.2 if live else 10.0)
        self.files, self.ended, self.failed, self.bytes = files, 0, 0, 0

    def received(self, count: int) -> None:
        self.bytes += count
        self._bar.update(count)

    def done(self, failed: bool) -> None:
        self.ended, self.failed = self.ended + 1, self.failed + failed
        left = ""
        if seconds := self._bar.format_dict["elapsed"]:
            minutes = seconds / self.ended * (self.files - self.ended) / 60
            left = f", about {minutes:.0f} min left"
        self._bar.set_postfix_str(f"{self.ended} of {self.files} files, {self.failed} missing{left}")

    def close(self) -> None:
        self._bar.close()


@command(make_parser)
def main(args: argparse.Namespace) -> int:
    """Run the command; see `python -m data_prep.download --help`."""
    from data_prep.download.cases import download_kits

    source = SOURCES[args.dataset]
    numbers = choose_cases(source, args.cases)
    files = sum(len(source.files(number)) for number in numbers)
    print(
        f"{source.title}: {len(numbers)} cases, about {len(numbers) * MEGABYTES_PER_CASE / 1000:.1f} GB; "
        f"{source.revision}"
    )
    if args.accept_license:
        print(source.license)
    bars = _Bars(files)
    try:
        outcome = download_kits(
            args.dataset,
            args.out,
            numbers,
            accept_license=args.accept_license,
            mirror=args.mirror,
            jobs=args.jobs,
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
