"""Case folders to caches: `python -m data_prep.build DIR --cache CACHE`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from data_prep.build.case import Built, Failed, build_case
from data_prep.build.parts import join_parts
from data_prep.build.resume import look_at_cache
from data_prep.cache.manifest import CacheEntry, Manifest, write_manifest
from data_prep.cli import progress
from data_prep.datasets.kits import Case, find_cases
from data_prep.datasets.pseudonyms import pseudonymous
from data_prep.errors import InputError
from data_prep.files.atomic import remove_leftovers
from data_prep.files.checksums import checked_sha256
from data_prep.files.locks import LOCK, locked
from data_prep.geometry.network_grid import DEFAULT_SETTINGS, GridSettings
from data_prep.parallel.dask_cluster import in_scheduler
from data_prep.parallel.shards import Shard
from data_prep.parallel.workers import Died, in_workers


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


def build_cache(
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


build = build_cache  # its name before version 0.2


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
