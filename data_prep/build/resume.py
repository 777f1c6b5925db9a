"""What a cache folder holds already, and whether a build may go on there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_prep.cache.case_file import check_schema, is_older, read_facts
from data_prep.cache.manifest import MANIFEST, CacheEntry, read_manifest
from data_prep.datasets.kits import Case
from data_prep.errors import InputError
from data_prep.files.checksums import checked_sha256
from data_prep.files.json_files import read_json
from data_prep.geometry.network_grid import GridSettings


def look_at_cache(
    cache: Path, settings: GridSettings, cases: list[Case], *, rebuild: bool
) -> tuple[dict[str, CacheEntry], list[str]]:
    """Return what the manifest in `cache` lists, by case, and notes. Nothing is listed where there is no manifest.

    A manifest that is damaged or of an older schema counts as none: all that it says follows from the case files and
    the source. InputError where one has a newer schema. InputError, too, unless `rebuild`, where the manifest or the
    file of one of `cases` was made with other settings, where the manifest lists cases, but none of these, and where
    one of these has another image in another place: a cache never mixes. With `rebuild`, the manifest of such a cache
    is removed: until the new one is written it is neither the old nor the new one.
    """
    path = cache / MANIFEST
    there, listed, notes = _manifest(path)
    # the files count, too, not the manifest alone: a build that was stopped has written no manifest yet
    known = {path: there} if there is not None else {}
    for file in (cache / f"{case.name}.h5" for case in cases):
        settings_there = _settings((read_facts(file) or {}).get("settings"))
        if settings_there is not None:
            known[file] = settings_there
    others = sorted(place for place, other in known.items() if other != settings)
    gone = sorted(set(listed) - {case.name for case in cases})
    trouble = None
    if others:
        trouble = f"{others[0]}: was made with {_said(known[others[0]])}, not {_said(settings)}"
    elif gone and len(gone) == len(listed):
        trouble = f"{cache}: holds other cases ({gone[0]}, ...), none of this source"
    elif (case := next((case for case in cases if _is_another(case, listed.get(case.name))), None)) is not None:
        trouble = f"{cache}: holds another image as {case.name}, from {listed[case.name].image_path}"
    if trouble is not None:
        if not rebuild:
            raise InputError(
                f"{trouble}; choose another --cache, or remake this one with --rebuild "
                "(models trained on it will not fit it any more)"
            )
        path.unlink(missing_ok=True)
    notes += [f"{name}: is in the cache, no longer in the source: taken off the manifest" for name in gone]
    return listed, notes


def _is_another(case: Case, listed: CacheEntry | None) -> bool:
    # one that was changed in its place, or moved, is the same case
    if listed is None or listed.image_path in (None, str(case.image.resolve())):
        return False
    try:
        return checked_sha256(case.image) != listed.image_sha256
    except InputError:  # said when it is built
        return False


def _manifest(path: Path) -> tuple[GridSettings | None, dict[str, CacheEntry], list[str]]:
    # (its settings, its entries by case, notes)
    if not path.exists():
        return None, {}, []
    try:
        content = read_json(path, "cache manifest")
    except InputError as error:
        return None, {}, [f"{error} (which is done now)"]
    schema = content.get("schema") if isinstance(content, dict) else None
    if is_older(schema):
        notes = [f"{path}: has schema {schema}, an older one: its cases are made again"]
        return _settings(content.get("settings")), {}, notes
    if schema is not None:
        check_schema(schema, path)
    try:
        manifest = read_manifest(path.parent)
    except InputError as error:
        return None, {}, [f"{error} (which is done now)"]
    return manifest.settings, {entry.case: entry for entry in manifest.entries}, []


def _settings(found: Any) -> GridSettings | None:
    # of a damaged file, or an older one, it may be anything
    try:
        return GridSettings(**(json.loads(found) if isinstance(found, str) else found))
    except (TypeError, ValueError, InputError):
        return None


def _said(settings: GridSettings) -> str:
    return f"size {settings.size}" + (f", pixels of {settings.pixel_mm} mm" if settings.pixel_mm else "")
