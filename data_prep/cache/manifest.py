"""The cache of network slices: one HDF5 file a case, `manifest.json`, the list of them, and `sources.json`.

The format, dataset by dataset and field by field, is in `docs/explanation/cache_format.md`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cache.case_file import SCHEMA, check_schema
from data_prep.cache.packed_slices import PackedSlices, find_slices
from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.files.json_files import read_json, write_json
from data_prep.geometry.network_grid import GridSettings
from data_prep.version import code_version

MANIFEST = "manifest.json"
SOURCES = "sources.json"

Pixels = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class CacheEntry:
    """What the manifest says of one case.

    file: name of its HDF5 file inside the cache, sha256: of that file. slices: how many, the source's own.
    pixel_mm: edge of a network pixel. spacing_mm, shape_zyx: of the source in axial order. image_path, label_path: of
    the source files (image_path may be a folder); they come from `sources.json` and are None where a cache came
    without it. kidney_ml (tumor included, as KiTS19 scores it), tumor_ml: in the source. pixels: (background, kidney,
    tumor) pixels of each network slice. Of an unlabelled case label_path, label_sha256, kidney_ml, tumor_ml and pixels
    are None. metadata: what `kits.json` says of the case, None without one. slices_sha256: of the image's network
    slices, the same for one image in two files, however these are packed.
    """

    case: str
    patient: str
    file: str
    sha256: str
    slices: int
    labelled: bool
    pixel_mm: float
    spacing_mm: tuple[float, float, float]
    shape_zyx: tuple[int, int, int]
    image_path: str | None
    label_path: str | None
    image_sha256: str
    label_sha256: str | None
    kidney_ml: float | None
    tumor_ml: float | None
    pixels: Pixels | None
    metadata: dict[str, Any] | None = None
    slices_sha256: str | None = None


_PATHS = ("image_path", "label_path")


@dataclass(frozen=True)
class Manifest:
    """A cache: its folder, the grid of all its cases, its cases by name, and the manifest file's SHA-256."""

    root: Path
    settings: GridSettings
    entries: tuple[CacheEntry, ...]
    sha256: str

    @cached_property
    def data_sha256(self) -> str:
        """SHA-256 of which patients' which source files the cache holds, whatever its grid and place."""
        rows = sorted([e.case, e.patient, e.image_sha256, e.label_sha256] for e in self.entries)
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def write_manifest(root: str | Path, settings: GridSettings, entries: list[CacheEntry]) -> Manifest:
    """Write `root/manifest.json` for the entries, sorted by case; return it as `read_manifest` does.

    Before it `root/sources.json`, which alone holds the paths of the source files.
    """
    entries = sorted(entries, key=lambda entry: entry.case)
    paths = {entry.case: {name: getattr(entry, name) for name in _PATHS} for entry in entries}
    write_json(Path(root) / SOURCES, {"schema": SCHEMA, "cases": paths})
    content = {
        "schema": SCHEMA,
        "code_version": code_version(),
        "settings": asdict(settings),
        "cases": [{k: v for k, v in asdict(entry).items() if k not in _PATHS} for entry in entries],
    }
    write_json(Path(root) / MANIFEST, content)
    return read_manifest(root)


def read_manifest(cache_dir: str | Path) -> Manifest:
    """Read a cache's manifest. InputError where it is absent, cannot be read or has another schema."""
    root = Path(cache_dir)
    path = root / MANIFEST
    if not root.is_dir():
        raise InputError(f"{root}: there is no such cache folder; make it with python -m data_prep.build")
    content = read_json(path, "cache manifest (of python -m data_prep.build)")
    check_schema(content.get("schema") if isinstance(content, dict) else None, path)
    try:
        settings = GridSettings(**content["settings"])
        paths = _source_paths(root)
        entries = tuple(entry_from(case, paths.get(case["case"], {})) for case in content["cases"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the cache manifest lacks something ({error!r}); build the cache again") from None
    return Manifest(root, settings, entries, sha256_of(path))


def read_case(manifest: Manifest, entry: CacheEntry) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (image, label) of a case: int16 HU [slices, size, size], and uint8 likewise, None if unlabelled.

    InputError where the file is absent, cannot be read, is of another schema, or is not what the manifest says
    (shape, labels, checksum).
    """
    import h5py

    path = _file(manifest, entry)
    try:
        with h5py.File(path, "r") as file:
            schema = file.attrs.get("schema")
            check_schema(schema, path)
            image = file["image"][...]
            label = file["label"][...] if "label" in file else None
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"{path}: the case cannot be read ({error}); build the cache again") from None
    expected = (entry.slices, manifest.settings.size, manifest.settings.size)
    if image.shape != expected or (label is not None) != entry.labelled:
        raise InputError(f"{path}: holds {image.shape}, the manifest says {expected}; build the cache again")
    verify(manifest, entry)
    return image, label


def read_labelled_case(manifest: Manifest, entry: CacheEntry) -> tuple[np.ndarray, np.ndarray]:
    """Return (image, label) of a case as `read_case` does; InputError for one without labels, too."""
    image, label = read_case(manifest, entry)
    if label is None:
        raise InputError(f"{_file(manifest, entry)}: has no labels; expected a labelled case")
    return image, label


def open_slices(manifest: Manifest, entry: CacheEntry) -> PackedSlices:
    """Return what reads single slices of a labelled case, without reading the others.

    InputError where the file is absent, cannot be read, or holds another number or size of slices than the manifest
    says; its checksum is not looked at.
    """
    path, size = _file(manifest, entry), manifest.settings.size
    found = find_slices(path)
    if (len(found.places["image"]), found.shape_yx) != (entry.slices, (size, size)):
        raise InputError(f"{path}: its slices are not those that the manifest tells of; build the cache again")
    return found


def verify(manifest: Manifest, entry: CacheEntry) -> None:
    """Raise InputError unless the case's file has the SHA-256 that the manifest gives."""
    path = _file(manifest, entry)
    found = sha256_of(path)
    if found != entry.sha256:
        raise InputError(
            f"{path}: has the checksum {found[:12]}, the manifest says {entry.sha256[:12]}; build the cache again"
        )


def _file(manifest: Manifest, entry: CacheEntry) -> Path:
    path = manifest.root / entry.file
    if not path.is_file():
        raise InputError(f"{path}: the manifest lists this file, it is absent; build the cache again")
    return path


def _source_paths(root: Path) -> dict[str, dict[str, str | None]]:
    if not (root / SOURCES).exists():
        return {}
    content = read_json(root / SOURCES, "list of source files (of python -m data_prep.build)")
    cases = content.get("cases") if isinstance(content, dict) else None
    if not isinstance(cases, dict) or not all(isinstance(paths, dict) for paths in cases.values()):
        raise InputError(f"{root / SOURCES}: the list of source files lacks something; build the cache again")
    return cases


def entry_from(case: dict[str, Any], paths: dict[str, str | None]) -> CacheEntry:
    """Rebuild an entry from what JSON held of `asdict(entry)`; the paths are those given."""
    case = {**case, **{name: paths.get(name) for name in _PATHS}}
    values = {field.name: case[field.name] for field in fields(CacheEntry)}
    if Path(values["file"]).name != values["file"]:
        raise ValueError(f"file {values['file']} is not inside the cache")
    for name in ("spacing_mm", "shape_zyx"):
        values[name] = tuple(values[name])
    if values["pixels"] is not None:
        values["pixels"] = tuple(tuple(row) for row in values["pixels"])
    return CacheEntry(**values)
