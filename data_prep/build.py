"""Case folders to caches: `python -m data_prep.build DIR --cache CACHE`."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from data_prep.build_case import Built, Failed, build_case
from data_prep.cache import MANIFEST, CacheEntry, Manifest, write_manifest
from data_prep.command import InputError, progress, run_command
from data_prep.files import checked_sha256, remove_leftovers
from data_prep.grid import DEFAULT_SETTINGS, GridSettings
from data_prep.kits import Case, find_cases
from data_prep.lock import LOCK, locked
from data_prep.pseudonyms import pseudonymous
from data_prep.resume import look_at_cache
from data_prep.schedulers import in_scheduler
from data_prep.shards import Shard, join_parts, parse
from data_prep.sigterm import ended_by_sigterm
from data_prep.workers import Died, in_workers


@dataclass(frozen=True)
class BuildResult:
    """What a build did.

    manifest: of all cases that are in the cache now; None after a shard that is not the last. failures: one line for
    each case that could not be used. problems: one line for each thing missing in the source, or decided. kept: cases
    that were there already, whole. tracebacks: of the failures that are this program's fault, not the input's.
    """

    manifest: Manifest | None
    failures: list[str]
    problems: list[str]
    made: int
    kept: int
    tracebacks: list[str] = field(default_factory=list)


def build(
    source: str | Path,
    cache: str | Path,
    settings: GridSettings = DEFAULT_SETTINGS,
    jobs: int = 1,
    *,
    images: str | None = None,
    labels: str | None = None,
    rebuild: bool = False,
    pseudonyms: bool = False,
    shard: Shard | None = None,
    scheduler: str | None = None,
) -> BuildResult:
    """Make the cache of every case in `source` (see `find_cases`, which gets `images` and `labels`) and its manifest.

    A case whose file is there already, whole and made from the same source files, is kept: so an interrupted
    build goes on where it stopped, and a changed source file, or an older schema, remakes its own case only. A case
    that cannot be used is reported in `failures`; the others are built. A case without labels is cached without them.
    `rebuild` remakes a cache of other settings or another source; `pseudonyms` calls cases and patients by their
    images' hashes (see `pseudonymous`). `shard` builds a part of the cases, at the same time as others build theirs,
    on any hosts that share the folder; the last one writes the manifest. `scheduler`: address of a Dask scheduler whose
    workers build instead of `jobs` processes here. InputError, before any case is written, where `source` has no case,
    where `cache` holds cases of other settings, a newer schema or another source, or where another build (of the same
    shard) is writing there.
    """
    if jobs < 1 or (scheduler and jobs > 1):
        expected = "1 with a scheduler, whose workers do the work" if scheduler else "1 or more"
        raise InputError(f"jobs {jobs}: expected {expected}")
    # plain where there are no patterns, so that they cost nothing who does not use them
    patterns = () if images is None and labels is None else (images, labels)
    cases, problems = find_cases(source, *patterns)
    cache = Path(cache)
    if cache.exists() and not cache.is_dir():
        raise InputError(f"{cache}: is a file; expected a folder for the cache, or a new name")
    cache.mkdir(parents=True, exist_ok=True)
    lock = LOCK if shard is None else f"{LOCK}-{shard.index}-of-{shard.count}"
    with locked(cache, "wait until it has ended, or choose another --cache", lock):
        remove_leftovers(cache)
        workers = partial(_outcomes, jobs=jobs) if scheduler is None else partial(_from_scheduler, address=scheduler)
        try:
            return _build(cases, problems, cache, settings, workers, rebuild, pseudonyms, shard)
        finally:
            remove_leftovers(cache)  # of workers that died


def _build(
    cases: list[Case],
    problems: list[str],
    cache: Path,
    settings: GridSettings,
    workers: Callable[[list[tuple]], Generator[Built | Failed | OSError, None, None]],
    rebuild: bool,
    pseudonyms: bool,
    shard: Shard | None,
) -> BuildResult:
    failures: list[Failed] = []
    hashes: dict[str, str] = {}
    if pseudonyms:
        cases, hashes, failures = _under_pseudonyms(cases)
    listed, notes = look_at_cache(cache, settings, cases, rebuild=rebuild)
    problems = problems + notes
    built: list[Built] = []
    names = [case.name for case in cases]
    if shard is not None:
        cases = shard.pick(cases)
    tasks = [(case, cache, settings, listed.get(case.name), hashes.get(case.name)) for case in cases]
    with closing(workers(tasks)) as outcomes:
        for outcome in progress(outcomes, "build", total=len(cases)):
            if isinstance(outcome, OSError):
                raise outcome
            if isinstance(outcome, Failed):
                failures.append(outcome)
            else:
                built.append(outcome)
                problems += [f"{outcome.entry.case}: {note}" for note in outcome.notes]
    own = [one.entry for one in built]
    entries = own if shard is None else join_parts(cache, settings, names, shard, own)
    problems += _same_images(entries or [])
    kept = sum(one.kept for one in built)
    return BuildResult(
        None if entries is None else write_manifest(cache, settings, entries),
        sorted(failure.line for failure in failures),
        problems,
        len(built) - kept,
        kept,
        [failure.traceback for failure in failures if failure.traceback],
    )


def _under_pseudonyms(cases: list[Case]) -> tuple[list[Case], dict[str, str], list[Failed]]:
    # all images are read before the first case: a patient's pseudonym needs those of all his cases
    failures = []
    hashes = {}
    for case in progress(cases, "hash"):
        try:
            hashes[case.name] = checked_sha256(case.image)
        except InputError as error:
            failures.append(Failed(f"{case.name}: {error}"))
    cases = [case for case in cases if case.name in hashes]
    renamed = pseudonymous(cases, hashes)
    return renamed, {new.name: hashes[old.name] for old, new in zip(cases, renamed, strict=True)}, failures


def _outcomes(tasks: list[tuple], jobs: int) -> Generator[Built | Failed | OSError, None, None]:
    if jobs == 1:
        for task in tasks:
            yield build_case(*task)
        return
    with closing(in_workers(build_case, tasks, jobs)) as results:
        for index, outcome in results:
            if isinstance(outcome, Died):
                outcome = Failed(
                    f"{tasks[index][0].name}: its process {outcome}, mostly for lack of memory; "
                    "run again with fewer --jobs: finished cases are kept"
                )
            yield outcome


def _from_scheduler(tasks: list[tuple], address: str) -> Generator[Built | Failed | OSError, None, None]:
    # paths that hold on other hosts, too
    tasks = [(_absolute(case), cache.absolute(), *rest) for case, cache, *rest in tasks]
    with closing(in_scheduler(build_case, tasks, address)) as results:
        for index, outcome in results:
            if isinstance(outcome, Died):
                outcome = Failed(f"{tasks[index][0].name}: its task {outcome}; run again: finished cases are kept")
            yield outcome


def _absolute(case: Case) -> Case:
    return replace(case, image=case.image.absolute(), labels=case.labels and case.labels.absolute())


def _same_images(entries: list[CacheEntry]) -> list[str]:
    by_image: dict[str | None, list[str]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.case):
        by_image[entry.slices_sha256].append(entry.case)
    return [f"{names[0]}: holds the same image as {', '.join(names[1:])}" for names in by_image.values() if names[1:]]


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.build",
        description="Make the HDF5 cache of a folder of CT cases (KiTS layout: case_NNNNN/imaging.nii.gz and "
        "segmentation.nii.gz). Run again, it goes on where it stopped. Ends with 0, or 2 where a case "
        "could not be used (the others are built).",
    )
    parser.add_argument("source", metavar="DIR", help="folder of case folders, or one case folder")
    parser.add_argument("--cache", required=True, help="folder to write to; made if absent")
    parser.add_argument(
        "--images",
        metavar="PATTERN",
        help="where the images are, if not in the KiTS layout, such as 'imagesTr/{case}_0000.nii.gz'",
    )
    parser.add_argument("--labels", metavar="PATTERN", help="where the labels are, such as 'labelsTr/{case}.nii.gz'")
    parser.add_argument("--size", type=int, default=256, help="pixels a side, multiple of 16 (default: %(default)s)")
    parser.add_argument(
        "--pixel-mm",
        type=float,
        default=None,
        help="fixed pixel size in mm, cropping or padding around the center (default: the whole field of view fits)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--rebuild", action="store_true", help="remake a cache of other settings, or another source")
    parser.add_argument(
        "--pseudonyms",
        action="store_true",
        help="call cases and patients by their images' hashes; only CACHE/sources.json then tells who they are",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="build the I-th of N parts of the cases, I from 0; the others may be built at the same time, anywhere "
        "with the same folders, and the last one writes the manifest",
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="build on the workers of this Dask scheduler, such as tcp://node1:8786"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see `python -m data_prep.build --help`."""
    args = make_parser().parse_args(argv)

    def body() -> int:
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
        )
        for line in result.problems:
            print(f"note: {line}")
        for text in result.tracebacks:
            print(text, file=sys.stderr)
        for line in result.failures:
            print(f"error: {line}", file=sys.stderr)
        done = f"({result.made} made, {result.kept} kept, {len(result.failures)} failed)"
        if result.manifest is None:
            print(f"{args.cache}: shard {args.shard} is done {done}; the last of the shards writes {MANIFEST}")
        else:
            entries = result.manifest.entries
            print(
                f"{result.manifest.root / MANIFEST}: {len(entries)} cases of "
                f"{len({e.patient for e in entries})} patients, "
                f"{sum(e.slices for e in entries)} slices, {sum(e.labelled for e in entries)} cases labelled {done}"
            )
        return 2 if result.failures else 0

    return ended_by_sigterm(lambda: run_command(body))


if __name__ == "__main__":
    sys.exit(main())
