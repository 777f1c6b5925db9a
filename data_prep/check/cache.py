"""Check a cache: every file against its checksum and the manifest, leftovers, the split and the folds."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cache.case_file import count_pixels
from data_prep.cache.manifest import MANIFEST, CacheEntry, Manifest, read_case, read_manifest
from data_prep.check.findings import Finding, Report, finding, in_order, loss_findings
from data_prep.cli import progress
from data_prep.errors import InputError, is_out_of_memory, raise_if_out_of_memory
from data_prep.files.checksums import sha256_of
from data_prep.files.names import printable
from data_prep.split.folds import FOLDS
from data_prep.split.sets import SETS, SPLIT, read_split

CASE_FILES = "*.h5"
LEFTOVERS = ".tmp-*"


def is_cache(root: Path) -> bool:
    """Return whether a folder holds a cache: a manifest, or case files without one."""
    return (root / MANIFEST).exists() or any(root.glob(CASE_FILES))


def check_cache(root: str | Path, *, strict: bool = False) -> Report:
    """Check a cache: its manifest, every case's file by SHA-256 and content, other files, its split and folds.

    `strict`: labels of which the grid loses more than 1 % are an error. Each file is read once. Findings name the case,
    or the file if it belongs to none.
    """
    root = Path(root)
    try:
        manifest = read_manifest(root)
    except InputError as error:
        return _report(root, [finding("", "bad_manifest", f"{MANIFEST}: {error.detail}")])
    except Exception as error:  # JSON of any form can stand there
        raise_if_out_of_memory(error)
        return _report(root, [finding("", "bad_manifest", f"it has another form ({type(error).__name__})")])
    found = _same_twice(manifest)
    facts: dict[str, dict[str, Any]] = {}
    for entry in progress(manifest.entries, "check"):
        problem = _check_entry(manifest, entry)
        if problem is None:
            facts[printable(entry.case)] = {"file": printable(entry.file), "slices": entry.slices}
        else:
            found.append(finding(entry.case, *problem))
        found += loss_findings(entry.case, entry.loss, strict=strict)
    listed = {entry.file for entry in manifest.entries}
    for path in sorted(root.glob(CASE_FILES)):
        if path.name not in listed and not path.name.startswith("."):
            found.append(finding("", "unlisted_file", f"{path.name}: is not in the manifest"))
    found += [finding("", "leftover", f"{path.name}: of a build that was stopped") for path in root.glob(LEFTOVERS)]
    found += _check_splits(manifest)
    names = tuple(printable(entry.case) for entry in manifest.entries)
    return _report(root, found, names, facts)


def _report(
    root: Path, found: list[Finding], names: tuple[str, ...] = (), facts: dict[str, dict[str, Any]] | None = None
) -> Report:
    return Report(printable(root), "cache", names, facts or {}, in_order(found), {})


def _check_entry(manifest: Manifest, entry: CacheEntry) -> tuple[str, str] | None:
    """Return (code, what) of the first problem of a case's file."""
    path = manifest.root / entry.file
    try:
        _, label = read_case(manifest, entry)  # compares shape and checksum
    except InputError as error:
        if not path.is_file():
            return "cache_missing", f"{path.name}: is in the manifest but does not exist"
        if sha256_of(path) != entry.sha256:
            return "cache_changed", f"{path.name}: is not the file that was built (its checksum differs)"
        if "allocation failed" in error.detail:  # by HDF5, of a file that is as it was built
            return "no_memory", f"{path.name}: not checked: not enough memory to read it"
        return "cache_content", f"{path.name}: {error.detail}"
    except Exception as error:
        if is_out_of_memory(error):
            return "no_memory", f"{path.name}: not checked: not enough memory to read it"
        return "cache_content", f"{path.name}: reading it ended with {type(error).__name__}"
    if label is not None and (entry.pixels is None or not np.array_equal(count_pixels(label), entry.pixels)):
        return "cache_content", f"{path.name}: holds other numbers of labelled pixels than in the manifest"
    return None


def _same_twice(manifest: Manifest) -> list[Finding]:
    by: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in manifest.entries:
        by["case", entry.case].append(entry.case)
        by["file", entry.file].append(entry.case)
        by["image", entry.image_sha256].append(entry.case)
    found = []
    for (what, value), names in by.items():
        if len(names) > 1 and what == "image":
            found += [finding(name, "same_image", f"{', '.join(names)} have the same source image") for name in names]
        elif len(names) > 1:
            found.append(finding(names[0], "cache_twice", f"the {what} {value} is in the manifest {len(names)} times"))
    return found


def _check_splits(manifest: Manifest) -> list[Finding]:
    paths = [path for path in (manifest.root / SPLIT,) if path.exists()]
    paths += sorted((manifest.root / FOLDS).glob("*.json"))
    if not paths and any(entry.labelled for entry in manifest.entries):
        return [finding("", "no_split", f"{SPLIT} does not exist")]
    return [one for path in paths for one in _check_split(manifest, path)]


def _check_split(manifest: Manifest, path: Path) -> list[Finding]:
    name = path.relative_to(manifest.root).as_posix()
    try:
        split = read_split(path, manifest)
    except InputError as error:
        return [finding("", "bad_split", f"{name}: {error.detail}")]
    except Exception as error:  # JSON of any form can stand there
        raise_if_out_of_memory(error)
        return [finding("", "bad_split", f"{name}: it has another form ({type(error).__name__})")]
    divided = {patient for name in SETS for patient in split[name]}
    left_out = {entry.patient for entry in manifest.entries if entry.labelled} - divided
    if left_out:
        return [finding("", "bad_split", f"{name}: {len(left_out)} labelled patients are in no set")]
    return []
