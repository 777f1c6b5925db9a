"""Case folders to caches: `python -m data_prep.build DIR --cache CACHE`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from data_prep.build_case import build_case
from data_prep.cache import MANIFEST, CacheEntry, Manifest, read_facts, read_manifest, write_manifest
from data_prep.command import InputError, progress, run_command
from data_prep.grid import DEFAULT_SETTINGS, GridSettings
from data_prep.kits import Case, find_cases


@dataclass(frozen=True)
class BuildResult:
    """What a build did.

    manifest: of all cases that are in the cache now. failures: one line for each case that could not be used.
    problems: one line for each thing missing in the source. kept: cases that were there already, whole.
    """

    manifest: Manifest
    failures: list[str]
    problems: list[str]
    made: int
    kept: int


def build(
    source: str | Path, cache: str | Path, settings: GridSettings = DEFAULT_SETTINGS, jobs: int = 1
) -> BuildResult:
    """Make the cache of every case in `source` (the KiTS layout, see `find_cases`) and its manifest.

    A case whose file is there already, whole and made from the same source files, is kept: so an interrupted
    build goes on where it stopped. A case that cannot be used is reported in `failures`; the others are
    built. A case without labels is cached without them. InputError, before anything is written, where
    `source` has no case, or where `cache` holds cases of other settings, another schema or only of another
    source.
    """
    if jobs < 1:
        raise InputError(f"jobs {jobs}: expected 1 or more")
    cases, problems = find_cases(source)
    cache = Path(cache)
    listed, notes = _check_cache(cache, settings, cases)
    problems += notes
    cache.mkdir(parents=True, exist_ok=True)
    entries: list[CacheEntry] = []
    failures: list[str] = []
    kept = 0
    for outcome in progress(_outcomes(cases, cache, settings, jobs, listed), "build", total=len(cases)):
        if isinstance(outcome, str):
            failures.append(outcome)
        else:
            entries.append(outcome[0])
            kept += outcome[1]
    manifest = write_manifest(cache, settings, entries)
    return BuildResult(manifest, sorted(failures), problems, len(entries) - kept, kept)


def _check_cache(cache: Path, settings: GridSettings, cases: list[Case]) -> tuple[dict[str, str], list[str]]:
    """Return the SHA-256 of each case that the manifest lists, and notes; InputError instead of mixing."""
    # the files count, too, not the manifest alone: a build that was stopped has written no manifest yet
    if cache.exists() and not cache.is_dir():
        raise InputError(f"{cache}: is a file; expected a folder for the cache, or a new name")
    found = {path: read_facts(path) for path in sorted(cache.glob("*.h5"))}
    known = {path: GridSettings(**json.loads(facts["settings"])) for path, facts in found.items() if facts}
    listed: dict[str, str] = {}
    if (cache / MANIFEST).exists():
        manifest = read_manifest(cache)
        known[cache / MANIFEST] = manifest.settings
        listed = {entry.case: entry.sha256 for entry in manifest.entries}
    for path, other in known.items():
        if other != settings:
            raise InputError(f"{path}: was made with {_said(other)}, not {_said(settings)}; choose another --cache")
    gone = sorted(set(listed) - {case.name for case in cases})
    if gone and len(gone) == len(listed):
        raise InputError(f"{cache}: holds other cases ({gone[0]}, ...), none of this source; choose another --cache")
    return listed, [f"{name}: is in the cache, no longer in the source: taken off the manifest" for name in gone]


def _said(settings: GridSettings) -> str:
    return f"size {settings.size}" + (f", pixels of {settings.pixel_mm} mm" if settings.pixel_mm else "")


def _outcomes(
    cases: list[Case], cache: Path, settings: GridSettings, jobs: int, listed: dict[str, str]
) -> Iterator[tuple[CacheEntry, bool] | str]:
    if jobs == 1:
        for case in cases:
            try:
                yield build_case(case, cache, settings, listed.get(case.name))
            except Exception as error:
                error.add_note(f"while building {case.name}")
                raise
        return
    # spawned, not forked: SimpleITK's and BLAS' threads do not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(build_case, case, cache, settings, listed.get(case.name)): case for case in cases}
        try:
            for future in as_completed(running):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    raise InputError(
                        f"a worker ended without a word near {running[future].name}, "
                        "mostly for lack of memory; run again with fewer --jobs: finished cases are kept"
                    ) from None
                except Exception as error:
                    error.add_note(f"while building {running[future].name}")
                    raise
        finally:
            pool.shutdown(cancel_futures=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command; see `python -m data_prep.build --help`."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.build",
        description="Make the HDF5 cache of a folder of CT cases (KiTS layout: case_NNNNN/imaging.nii.gz and "
        "segmentation.nii.gz). Run again, it goes on where it stopped. Ends with 0, or 2 where a case "
        "could not be used (the others are built).",
    )
    parser.add_argument("source", metavar="DIR", help="folder of case folders, or one case folder")
    parser.add_argument("--cache", required=True, help="folder to write to; made if absent")
    parser.add_argument("--size", type=int, default=256, help="pixels a side, multiple of 16 (default: %(default)s)")
    parser.add_argument(
        "--pixel-mm",
        type=float,
        default=None,
        help="fixed pixel size in mm, cropping or padding around the center (default: the whole field of view fits)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    args = parser.parse_args(argv)

    def body() -> int:
        result = build(args.source, args.cache, GridSettings(args.size, args.pixel_mm), args.jobs)
        for line in result.problems:
            print(f"note: {line}")
        for line in result.failures:
            print(f"error: {line}", file=sys.stderr)
        entries = result.manifest.entries
        print(
            f"{result.manifest.root / MANIFEST}: {len(entries)} cases of "
            f"{len({e.patient for e in entries})} patients, "
            f"{sum(e.slices for e in entries)} slices, {sum(e.labelled for e in entries)} cases labelled "
            f"({result.made} made, {result.kept} kept, {len(result.failures)} failed)"
        )
        return 2 if result.failures else 0

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
