"""The manifest of a cache and the paths of its source files; the format is in `docs/explanation/cache_format.md`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cache.case_file import SCHEMA, check_schema
from data_prep.cache.checked_case_file import check_layout, opened
from data_prep.cache.packed_slices import PackedSlices, find_slices
from data_prep.errors import InputError, raise_if_out_of_memory
from data_prep.files.checksums import sha256_of
from data_prep.files.json_files import read_json, write_json
from data_prep.files.typed import typed
from data_prep.geometry.grid_loss import GridLoss
from data_prep.geometry.network_grid import GridSettings
from data_prep.origin import UNSTATED, Origin
from data_prep.version import code_version

MANIFEST = "manifest.json"
SOURCES = "sources.json"

Pixels = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class CacheEntry:
    """Entry of one case in the manifest.

    file, sha256: its HDF5 file inside the cache. slices: number, as in the source. pixel_mm: edge of a network pixel.
    spacing_mm, shape_zyx: of the source in axial order. image_path (may be a folder), label_path: of the source files,
    from `sources.json`; None without it. kidney_ml (with tumor, as KiTS19 scores it), tumor_ml: in the source. pixels:
    (background, kidney, tumor) pixels per network slice. label_path, label_sha256, kidney_ml, tumor_ml and pixels are
    None for an unlabelled case. metadata: the case's record in `kits.json`, or None. slices_sha256: of the image's
    network slices, the same for one image in two files of any compression. loss: what the labels lose on the way to
    the network's grid; None for an unlabelled case and in caches of version 0.1.
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
    loss: GridLoss | None = None


_PATHS = ("image_path", "label_path")


@dataclass(frozen=True)
class Manifest:
    """A cache: its folder, the grid of its cases, its cases sorted by name, and the manifest file's SHA-256.

    cohort: where its patients come from; unknown in caches of version 0.1.
    """

    root: Path
    settings: GridSettings
    entries: tuple[CacheEntry, ...]
    sha256: str
    cohort: Origin = UNSTATED

    @property
    def ceiling(self) -> dict[str, float | None]:
        """Mean Dice of kidney and of tumor that a perfect network reaches on this grid; None where it is not known."""
        return mean_ceiling(self.entries)

    @cached_property
    def data_sha256(self) -> str:
        """SHA-256 of the cases, patients and source files, independent of grid and place."""
        rows = sorted([e.case, e.patient, e.image_sha256, e.label_sha256] for e in self.entries)
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def mean_ceiling(entries: Iterable[CacheEntry]) -> dict[str, float | None]:
    """Return the mean `GridLoss` ceiling of kidney and of tumor over the cases that have them; None without any."""
    losses = [entry.loss for entry in entries if entry.loss is not None]
    found = {name: [getattr(loss, f"{name}_ceiling") for loss in losses] for name in ("kidney", "tumor")}
    known = {name: [value for value in values if value is not None] for name, values in found.items()}
    return {name: sum(values) / len(values) if values else None for name, values in known.items()}


def write_manifest(
    root: str | Path, settings: GridSettings, entries: list[CacheEntry], cohort: Origin = UNSTATED
) -> Manifest:
    """Write `root/sources.json` with the paths, then `root/manifest.json`; return what `read_manifest` reads."""
    entries = sorted(entries, key=lambda entry: entry.case)
    paths = {entry.case: {name: getattr(entry, name) for name in _PATHS} for entry in entries}
    write_json(Path(root) / SOURCES, {"schema": SCHEMA, "cases": paths})
    content = {
        "schema": SCHEMA,
        "code_version": code_version(),
        "settings": asdict(settings),
        "cohort": asdict(cohort),
        "ceiling": mean_ceiling(entries),
        "cases": [{k: v for k, v in asdict(entry).items() if k not in _PATHS} for entry in entries],
    }
    write_json(Path(root) / MANIFEST, content)
    return read_manifest(root)


def read_manifest(cache_dir: str | Path) -> Manifest:
    """Read a cache's manifest. InputError if it does not exist, cannot be read or has another schema."""
    root = Path(cache_dir)
    path = root / MANIFEST
    if not root.is_dir():
        raise InputError("no such cache folder; make it with python -m data_prep.build", path=root, code="no_such_file")
    content = read_json(path, "cache manifest (of python -m data_prep.build)")
    check_schema(content.get("schema") if isinstance(content, dict) else None, path)
    paths = _source_paths(root)
    try:
        settings = typed(GridSettings, content["settings"], "settings")
        cohort = typed(Origin, content.get("cohort", {}), "cohort")
        cases = typed(list[dict[str, Any]], content["cases"], "cases")
        entries = tuple(entry_from(case, paths.get(case["case"], {})) for case in cases)
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise InputError(f"the cache manifest is incomplete ({error!r}); build the cache again", path=path) from None
    return Manifest(root, settings, entries, sha256_of(path), cohort)


def read_case(manifest: Manifest, entry: CacheEntry) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (image, label) of a case: int16 HU [slices, size, size], and uint8 of that shape, None if unlabelled.

    InputError if the file cannot be read, has another schema, or differs from the manifest (shape, labels, checksum).
    """
    path = _file(manifest, entry)
    try:
        with opened(path) as file:
            check_schema(file.attrs.get("schema"), path)
            check_layout(file)
            image = file["image"][...]
            label = file["label"][...] if "label" in file else None
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise_if_out_of_memory(error, path)
        raise InputError(f"the case cannot be read ({error}); build the cache again", path=path) from None
    expected = (entry.slices, manifest.settings.size, manifest.settings.size)
    if image.shape != expected or (label is not None) != entry.labelled:
        raise InputError(f"holds {image.shape}, the manifest {expected}; build the cache again", path=path)
    verify(manifest, entry)
    return image, label


def read_labelled_case(manifest: Manifest, entry: CacheEntry) -> tuple[np.ndarray, np.ndarray]:
    """Return (image, label) of a case as `read_case` does; InputError also for one without labels."""
    image, label = read_case(manifest, entry)
    if label is None:
        raise InputError("has no labels; expected a labelled case", path=_file(manifest, entry))
    return image, label


def open_slices(manifest: Manifest, entry: CacheEntry) -> PackedSlices:
    """Return a reader of single slices of a labelled case; the checksum is not compared.

    InputError if the file cannot be read, or has another number or size of slices than the manifest.
    """
    path, size = _file(manifest, entry), manifest.settings.size
    found = find_slices(path)
    if (len(found.places["image"]), found.shape_yx) != (entry.slices, (size, size)):
        raise InputError("its slices are not those of the manifest; build the cache again", path=path)
    return found


def verify(manifest: Manifest, entry: CacheEntry) -> None:
    """Raise InputError unless the case's file has the SHA-256 of the manifest."""
    path = _file(manifest, entry)
    found = sha256_of(path)
    if found != entry.sha256:
        detail = f"has the checksum {found[:12]}, in the manifest {entry.sha256[:12]}; build the cache again"
        raise InputError(detail, path=path)


def _file(manifest: Manifest, entry: CacheEntry) -> Path:
    path = manifest.root / entry.file
    if not path.is_file():
        raise InputError("is in the manifest but does not exist; build the cache again", path=path)
    return path


def _source_paths(root: Path) -> dict[str, dict[str, str | None]]:
    if not (root / SOURCES).exists():
        return {}
    content = read_json(root / SOURCES, "list of source files (of python -m data_prep.build)")
    cases = content.get("cases") if isinstance(content, dict) else None
    if not isinstance(cases, dict) or not all(isinstance(paths, dict) for paths in cases.values()):
        raise InputError("the list of source files is incomplete; build the cache again", path=root / SOURCES)
    return cases


def entry_from(case: dict[str, Any], paths: dict[str, str | None]) -> CacheEntry:
    """Return an entry from the JSON values of `asdict(entry)`, with these paths; KeyError or ValueError for others."""
    case = {**case, **{name: paths.get(name) for name in _PATHS}}
    values = {field.name: case[field.name] for field in fields(CacheEntry) if field.name != "loss"}
    values["loss"] = case.get("loss")
    pixels = values.pop("pixels")
    entry = typed(CacheEntry, {**values, "pixels": None}, f"case {str(values['case'])[:40]!a}")
    for name in (entry.file, entry.case):
        if Path(name).name != name or "\0" in name:
            raise ValueError(f"{name!a} is not inside the cache")
    sizes = (entry.slices, entry.pixel_mm, *entry.spacing_mm, *entry.shape_zyx)
    if min(sizes) <= 0 or entry.labelled != (pixels is not None) or entry.labelled != (entry.tumor_ml is not None):
        raise ValueError(f"the sizes or labels of {entry.case!a} contradict each other")
    return entry if pixels is None else replace(entry, pixels=_counts(pixels, entry))


def _counts(pixels: Any, entry: CacheEntry) -> Pixels:
    counts = np.asarray(pixels)  # not by `typed`: a large cache has millions
    if counts.dtype.kind not in "iu" or counts.shape != (entry.slices, 3) or counts.min() < 0:
        raise ValueError(f"pixels of {entry.case!a}: expected three whole numbers for each of {entry.slices} slices")
    return tuple(tuple(row) for row in counts.tolist())
