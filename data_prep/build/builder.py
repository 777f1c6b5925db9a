"""Build the cache of a folder of cases; the library behind `python -m data_prep.build`."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data_prep.build.case import Built, Failed, Task, build_case
from data_prep.build.resume import inspect_cache, refuse_foreign
from data_prep.cache.manifest import CacheEntry, Manifest, entry_from, write_manifest
from data_prep.cli import progress
from data_prep.datasets.cohorts import kind_of_case
from data_prep.datasets.kits import Case, find_cases
from data_prep.datasets.pseudonyms import pseudonymous
from data_prep.download.records import downloaded
from data_prep.errors import InputError
from data_prep.files.atomic import remove_leftovers
from data_prep.files.checksums import checked_sha256
from data_prep.files.json_files import read_json, write_json
from data_prep.files.locks import LOCK, locked
from data_prep.files.outputs import check_folder
from data_prep.files.typed import typed
from data_prep.geometry.grid_loss import NOTABLE
from data_prep.geometry.network_grid import DEFAULT_SETTINGS, GridSettings
from data_prep.origin import joined
from data_prep.parallel.shards import PARTS, Shard
from data_prep.parallel.tasks import WorkerDied, check_jobs, run


@dataclass(frozen=True)
class BuildResult:
    """Result of a build.

    manifest: of all cases that are in the cache now; None after a shard that is not the last. failures: one line per
    case that could not be used. problems: one line per thing that the source lacks, or that reading had to decide.
    made, kept: cases written now, and before. tracebacks: of failures that are defects of this program.
    """

    manifest: Manifest | None
    failures: list[str]
    problems: list[str]
    made: int
    kept: int
    tracebacks: list[str] = field(default_factory=list)

    @property
    def losses(self) -> list[str]:
        """One line per case and structure of which more than 1 % is lost on the way to the grid."""
        entries = self.manifest.entries if self.manifest else ()
        lost = ((entry.case, part) for entry in entries if entry.loss for part in entry.loss.lines())
        return [f"{case}: {what}" for case, (share, _, what) in lost if share > NOTABLE]


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
    cohort: str | None = None,
) -> BuildResult:
    """Make the cache file of every case in `source`, and the manifest.

    A case whose file exists, is complete and was made from the same source files is kept, so that an interrupted build
    resumes, and a changed source file or an older schema remakes only its own case. A case that cannot be used is
    reported in `failures`; the others are built. A case without labels is cached without them.

    Args:
        source: folder of cases, see `find_cases`, which also takes `images` and `labels`.
        cache: folder to write to; made if absent.
        settings: grid of the cached slices.
        jobs: number of processes.
        rebuild: rebuild a cache that was built with other settings or from other images.
        pseudonyms: name cases and patients after their images' hashes, see `pseudonymous`.
        shard: build only this part of the cases; processes on any hosts that share the folder may build the other
            parts at the same time, and the last one writes the manifest.
        scheduler: address of a Dask scheduler whose workers build instead of `jobs` processes here.
        cohort: what the manifest says of the patients, such as `hospital A`; None for what files and names say
            (`kind_of_case`). Simulated patients stay simulated.

    Raises:
        InputError: before any case is written, if `source` has no case, `cache` holds cases of other settings, of a
            newer schema or of another source, or another build (of the same shard) is writing there.
    """
    check_jobs(jobs, scheduler)
    cases, found = find_cases(source, images, labels)
    origin = joined((kind_of_case(case.name, case.image, case.labels, case.metadata) for case in cases), cohort)
    if origin.is_kits and cohort is None:
        origin = downloaded(source, origin)
    problems = [str(problem) for problem in found]
    cache = Path(cache)
    check_folder(cache)
    refuse_foreign(cache, [f"{case.name}.h5" for case in cases])
    cache.mkdir(parents=True, exist_ok=True)
    lock = LOCK if shard is None else f"{LOCK}-{shard.index}-of-{shard.count}"
    failures: list[Failed] = []
    hashes: dict[str, str] = {}
    built: list[Built] = []
    with locked(cache, "wait until it has ended, or choose another --cache", lock):
        remove_leftovers(cache)
        if pseudonyms:
            cases, hashes, failures = _under_pseudonyms(cases)
        listed, notes = inspect_cache(cache, settings, cases, rebuild=rebuild)
        problems += notes
        names = [case.name for case in cases]
        own = cases if shard is None else shard.pick(cases)
        tasks = [Task(case, cache, settings, listed.get(case.name), hashes.get(case.name)) for case in own]
        try:
            with run(build_case, tasks, jobs=jobs, scheduler=scheduler, what="build") as outcomes:
                for index, outcome in outcomes:
                    if isinstance(outcome, OSError):
                        raise outcome
                    if isinstance(outcome, WorkerDied):
                        failures.append(Failed(f"{own[index].name}: {outcome}: finished cases are kept"))
                    elif isinstance(outcome, Failed):
                        failures.append(outcome)
                    else:
                        built.append(outcome)
                        problems += [f"{outcome.entry.case}: {note}" for note in outcome.notes]
        finally:
            remove_leftovers(cache)  # of workers that died
        of_shard = [one.entry for one in built]
        entries = of_shard if shard is None else _join_shards(cache, settings, names, shard, of_shard)
        kept = sum(one.kept for one in built)
        return BuildResult(
            None if entries is None else write_manifest(cache, settings, entries, origin),
            sorted(failure.line for failure in failures),
            problems + _same_images(entries or []),
            len(built) - kept,
            kept,
            [failure.traceback for failure in failures if failure.traceback],
        )


build = build_cache  # its name before version 0.2


def _under_pseudonyms(cases: list[Case]) -> tuple[list[Case], dict[str, str], list[Failed]]:
    # all images are read before the first case: a patient's pseudonym needs those of all the patient's cases
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


def _same_images(entries: list[CacheEntry]) -> list[str]:
    by_image: dict[str | None, list[str]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.case):
        by_image[entry.slices_sha256].append(entry.case)
    return [f"{names[0]}: holds the same image as {', '.join(names[1:])}" for names in by_image.values() if names[1:]]


def _join_shards(
    cache: Path, settings: GridSettings, cases: Sequence[str], shard: Shard, entries: Sequence[CacheEntry]
) -> list[CacheEntry] | None:
    """Save the entries of a shard's cases; return the entries of all shards if all are saved, else None.

    What shards of other cases (`cases`: the names of all shards' cases), settings or another number have saved does not
    count. Two shards that end at the same time may both get all entries; they are the same.
    """
    build = hashlib.sha256(json.dumps([sorted(cases), asdict(settings)]).encode()).hexdigest()
    paths = [cache / PARTS / f"{index}-of-{shard.count}.json" for index in range(shard.count)]
    write_json(paths[shard.index], {"build": build, "cases": [asdict(entry) for entry in entries]})
    joined: list[CacheEntry] = []
    for path in paths:
        try:
            part = typed(dict[str, Any], read_json(path, "list of a shard's cases") if path.is_file() else {})
            if part.get("build") != build:
                return None
            joined += [entry_from(case, case) for case in typed(list[dict[str, Any]], part["cases"])]
        except (KeyError, ValueError) as error:
            raise InputError(f"the list is damaged ({error!r}); run its shard again", path=path) from None
    return joined
