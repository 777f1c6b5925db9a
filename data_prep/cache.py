"""The cache of network slices: one HDF5 file a case, and `manifest.json`, the list of them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.command import InputError
from data_prep.files import read_json, replacing, sha256_of, write_json
from data_prep.grid import GridSettings

SCHEMA = 2
MANIFEST = "manifest.json"

Pixels = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class CacheEntry:
    """What the manifest says of one case.

    file: name of its HDF5 file inside the cache, sha256: of that file. slices: how many, the source's own.
    pixel_mm: edge of a network pixel. spacing_mm, shape_zyx: of the source in axial order. kidney_ml (tumor
    included, as KiTS19 scores it), tumor_ml: in the source. pixels: (background, kidney, tumor) pixels of
    each network slice. Of an unlabelled case label_path, label_sha256, kidney_ml, tumor_ml and pixels are
    None. metadata: what `kits.json` says of the case, None without one.
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
    image_path: str
    label_path: str | None
    image_sha256: str
    label_sha256: str | None
    kidney_ml: float | None
    tumor_ml: float | None
    pixels: Pixels | None
    metadata: dict[str, Any] | None = None


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


def code_version() -> str:
    """Return the installed version of this project, `unknown` where it is not installed."""
    try:
        return importlib.metadata.version("kidney_seg")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def write_case(path: str | Path, image: np.ndarray, label: np.ndarray | None, facts: dict[str, Any]) -> str:
    """Write one case's HDF5 file, whole or not at all; return its SHA-256.

    image: int16 HU [slices, size, size]; label: uint8 of that shape, or None; facts become the file's
    attributes (None is left out, lists of numbers become arrays), beside `schema` and `code_version`. The
    same content always gives the same bytes.
    """
    import h5py

    # made in memory: a full disk is then met by one plain write, not inside HDF5
    with h5py.File("case.h5", "w", driver="core", backing_store=False) as file:
        options = {
            "chunks": (1, *image.shape[1:]),
            "compression": "gzip",
            "compression_opts": 1,
            "shuffle": True,
        }
        file.create_dataset("image", data=image.astype(np.int16, copy=False), **options)
        if label is not None:
            file.create_dataset("label", data=label.astype(np.uint8, copy=False), **options)
            file.create_dataset("pixels", data=count_pixels(label))
        for name, value in {"schema": SCHEMA, "code_version": code_version(), **facts}.items():
            if value is not None:
                file.attrs[name] = value
        file.flush()
        content = file.id.get_file_image()
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def count_pixels(label: np.ndarray) -> np.ndarray:
    """Count the pixels of each class by slice: uint8 [slices, y, x] -> int64 [slices, 3]."""
    return np.stack([(label == value).sum(axis=(1, 2), dtype=np.int64) for value in range(3)], axis=1)


def read_facts(path: str | Path) -> dict[str, Any] | None:
    """Return the attributes of a case's HDF5 file and its `pixels`; None where it is absent or not whole.

    InputError for a file of another schema.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            facts = dict(file.attrs)
            facts["pixels"] = file["pixels"][...] if "pixels" in file else None
    except (OSError, RuntimeError, KeyError):
        return None
    _check_schema(facts.get("schema"), path)
    return facts


def write_manifest(root: str | Path, settings: GridSettings, entries: list[CacheEntry]) -> Manifest:
    """Write `root/manifest.json` for the entries, sorted by case; return it as `read_manifest` does."""
    content = {
        "schema": SCHEMA,
        "code_version": code_version(),
        "settings": asdict(settings),
        "cases": [asdict(entry) for entry in sorted(entries, key=lambda entry: entry.case)],
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
    _check_schema(content.get("schema") if isinstance(content, dict) else None, path)
    try:
        settings = GridSettings(**content["settings"])
        entries = tuple(_entry(case) for case in content["cases"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the cache manifest lacks something ({error!r}); build the cache anew") from None
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
            _check_schema(schema, path)
            image = file["image"][...]
            label = file["label"][...] if "label" in file else None
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"{path}: the case cannot be read ({error}); remove it and build again") from None
    expected = (entry.slices, manifest.settings.size, manifest.settings.size)
    if image.shape != expected or (label is not None) != entry.labelled:
        raise InputError(f"{path}: holds {image.shape}, the manifest says {expected}; remove it and build again")
    verify(manifest, entry)
    return image, label


def read_slice(manifest: Manifest, entry: CacheEntry, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one slice of a labelled case, image int16 HU and label uint8 [size, size], without reading the others.

    InputError where the file is absent or cannot be read.
    """
    import h5py

    path = _file(manifest, entry)
    try:
        with h5py.File(path, "r") as file:
            return file["image"][index], file["label"][index]
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"{path}: the case cannot be read ({error}); remove it and build again") from None


def verify(manifest: Manifest, entry: CacheEntry) -> None:
    """Raise InputError unless the case's file has the SHA-256 that the manifest gives."""
    path = _file(manifest, entry)
    found = sha256_of(path)
    if found != entry.sha256:
        raise InputError(
            f"{path}: has the checksum {found[:12]}, the manifest says {entry.sha256[:12]}; remove it and build again"
        )


def _file(manifest: Manifest, entry: CacheEntry) -> Path:
    path = manifest.root / entry.file
    if not path.is_file():
        raise InputError(f"{path}: the manifest lists this file, it is absent; build the cache again")
    return path


def _check_schema(found: Any, path: str | Path) -> None:
    if found != SCHEMA:
        raise InputError(f"{path}: cache of schema {found}, this version reads {SCHEMA}; build into a new folder")


def _entry(case: dict[str, Any]) -> CacheEntry:
    values = {field.name: case[field.name] for field in fields(CacheEntry)}
    if Path(values["file"]).name != values["file"]:
        raise ValueError(f"file {values['file']} is not inside the cache")
    for name in ("spacing_mm", "shape_zyx"):
        values[name] = tuple(values[name])
    if values["pixels"] is not None:
        values["pixels"] = tuple(tuple(row) for row in values["pixels"])
    return CacheEntry(**values)
