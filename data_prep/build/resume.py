"""Inspect an existing cache folder: which cases it lists, and whether a build may resume there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.cache.case_file import check_schema, is_older, read_facts
from data_prep.cache.manifest import MANIFEST, SOURCES, CacheEntry, read_manifest
from data_prep.datasets.kits import Case
from data_prep.errors import InputError
from data_prep.files.checksums import checked_sha256
from data_prep.files.json_files import parse_json, read_json
from data_prep.files.locks import LOCK, is_lock
from data_prep.files.outputs import check_outputs, has_keys
from data_prep.files.typed import typed
from data_prep.geometry.network_grid import GridSettings

_HDF5 = b"\x89HDF\r\n\x1a\n"  # the first bytes of any HDF5 file


def inspect_cache(
    cache: Path, settings: GridSettings, cases: list[Case], *, rebuild: bool
) -> tuple[dict[str, CacheEntry], list[str]]:
    """Return the entries of the manifest in `cache` by case, none without a manifest, and notes.

    A manifest that is damaged or of an older schema counts as none: all its content follows from the case files and
    the source. With `rebuild`, the manifest of a cache that a build may not resume is removed.

    Raises:
        InputError: the manifest has a newer schema; or, unless `rebuild`, the manifest or the file of one of `cases`
            was made with other settings, the manifest lists cases, but none of these, or one of these has another image
            in another place: a cache never mixes.
    """
    path = cache / MANIFEST
    made_with, listed, notes = _manifest(path)
    # the files count as well as the manifest: a build that was stopped has not written one yet
    known = {path: made_with} if made_with is not None else {}
    for file in (cache / f"{case.name}.h5" for case in cases):
        of_file = _settings((read_facts(file) or {}).get("settings"))
        if of_file is not None:
            known[file] = of_file
    others = sorted(place for place, other in known.items() if other != settings)
    gone = sorted(set(listed) - {case.name for case in cases})
    problem = None
    if others:
        problem = others[0], f"was made with {_described(known[others[0]])}, not {_described(settings)}"
    elif gone and len(gone) == len(listed):
        problem = cache, f"holds other cases ({gone[0]}, ...), none of this source"
    elif (case := next((case for case in cases if _is_another(case, listed.get(case.name))), None)) is not None:
        problem = cache, f"holds another image as {case.name}, from {listed[case.name].image_path}"
    if problem is not None:
        if not rebuild:
            raise InputError(
                f"{problem[1]}; choose another --cache, or remake this one with --rebuild "
                "(models trained on it will no longer fit it)",
                path=problem[0],
            )
        path.unlink(missing_ok=True)
    notes += [f"{name}: is in the cache, no longer in the source: removed from the manifest" for name in gone]
    return listed, notes


def refuse_foreign(cache: Path, files: Sequence[str]) -> None:
    """Raise InputError if the folder holds files of other programs under names that a build writes.

    What cannot be understood counts as damaged, and is made again, only where a build has run: it leaves its lock.
    """
    built = any(map(is_lock, cache.glob(f"{LOCK}*"))) and any(cache.glob("*.h5"))
    for name in (MANIFEST, SOURCES):
        check_outputs([cache / name], ours=lambda path: built or has_keys("schema", "cases")(path) or _is_newer(path))
    check_outputs([cache / name for name in files], ours=lambda path: built or path.read_bytes()[:8] == _HDF5)


def _is_newer(path: Path) -> bool:
    return has_keys("schema")(path) and not is_older(read_json(path, "cache manifest")["schema"])


def _is_another(case: Case, listed: CacheEntry | None) -> bool:
    # an image that was changed in its place, or moved, is of the same case
    if listed is None or listed.image_path in (None, os.path.realpath(case.image)):
        return False
    try:
        return checked_sha256(case.image) != listed.image_sha256
    except InputError:  # reported when it is built
        return False


def _manifest(path: Path) -> tuple[GridSettings | None, dict[str, CacheEntry], list[str]]:
    # (its settings, its entries by case, notes)
    if not path.exists():
        return None, {}, []
    try:
        content = read_json(path, "cache manifest")
    except InputError as error:
        return None, {}, [f"{error} (this build does so)"]
    schema = content.get("schema") if isinstance(content, dict) else None
    if is_older(schema):
        notes = [f"{path}: has schema {schema}, an older one: its cases are built again"]
        return _settings(content.get("settings")), {}, notes
    if schema is not None:
        check_schema(schema, path)
    try:
        manifest = read_manifest(path.parent)
    except InputError as error:
        return None, {}, [f"{error} (this build does so)"]
    return manifest.settings, {entry.case: entry for entry in manifest.entries}, []


def _settings(found: Any) -> GridSettings | None:
    # of a damaged or older file it may be anything
    try:
        return typed(GridSettings, parse_json(found) if isinstance(found, str) else found)
    except (ValueError, InputError):
        return None


def _described(settings: GridSettings) -> str:
    return f"size {settings.size}" + (f", pixels of {settings.pixel_mm} mm" if settings.pixel_mm else "")
