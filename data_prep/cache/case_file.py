"""The HDF5 file of one case of a cache; the format is in `docs/explanation/cache_format.md`."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cache.checked_case_file import check_layout, opened
from data_prep.cache.packed_slices import hdf5_lock, write_slices
from data_prep.errors import InputError
from data_prep.files.atomic import write_file
from data_prep.version import code_version

SCHEMA = 3
_CONTENT = "content_sha256"
_DAMAGES = (OSError, RuntimeError, KeyError, ValueError, TypeError)  # raised by h5py for a damaged file


def write_case(path: str | Path, image: np.ndarray, label: np.ndarray | None, facts: dict[str, Any]) -> str:
    """Write one case's HDF5 file, which appears whole or not at all; return its SHA-256.

    image: int16 HU [slices, size, size]; label: uint8 of that shape, or None; facts: attributes of the file (None is
    left out), besides `schema`, `code_version`, `slices_sha256` and `content_sha256`. The same content gives the same
    bytes on one machine, and the same `content_sha256` on any.
    """
    import h5py

    # made in memory, so that a full disk fails one plain write, not HDF5; HDF5 takes files of one name for one file
    with h5py.File(f"{uuid.uuid4()}.h5", "w", driver="core", backing_store=False) as file:
        image = np.ascontiguousarray(image, "<i2")
        write_slices(file, "image", image)
        others = {}
        if label is not None:
            others = {"label": label.astype(np.uint8, copy=False), "pixels": count_pixels(label)}
            write_slices(file, "label", others["label"])
            file.create_dataset("pixels", data=others["pixels"])
        slices_sha256 = hashlib.sha256(image.data).hexdigest()
        own = {"schema": SCHEMA, "code_version": code_version(), "slices_sha256": slices_sha256}
        for name, value in {**facts, **own}.items():
            if value is not None:
                file.attrs[name] = value
        file.attrs[_CONTENT] = content_sha256(dict(file.attrs), others)
        file.flush()
        with hdf5_lock():
            content = file.id.get_file_image()
    write_file(path, content)
    return hashlib.sha256(content).hexdigest()


def count_pixels(label: np.ndarray) -> np.ndarray:
    """Count the pixels of each class by slice: uint8 [slices, y, x] -> int64 [slices, 3]."""
    counts = [[np.count_nonzero(plane == value) for value in range(3)] for plane in label]
    return np.array(counts, np.int64).reshape(-1, 3)


def content_sha256(attributes: dict[str, Any], others: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of a case's content, however it is stored.

    It covers all attributes except `content_sha256` as JSON (keys sorted, Python's default separators), with
    `slices_sha256` for the image, then the bytes of `label` (uint8) and `pixels` (int64), if any, in C order,
    little-endian.
    """
    plain = {name: np.asarray(value).tolist() for name, value in attributes.items() if name != _CONTENT}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name, dtype in (("label", np.uint8), ("pixels", "<i8")):
        if name in others:
            digest.update(np.ascontiguousarray(others[name], dtype).data)
    return digest.hexdigest()


def is_whole(path: str | Path) -> bool:
    """Return whether a case's file is intact: every voxel and attribute is read and compared by SHA-256."""
    try:
        with opened(path) as file:
            check_layout(file)
            attributes = dict(file.attrs)
            others = {name: file[name][...] for name in file if name != "image"}
            slices_sha256 = hashlib.sha256(file["image"][...]).hexdigest()
            found = slices_sha256, content_sha256(attributes, others)
            return found == (attributes["slices_sha256"], attributes[_CONTENT])
    except _DAMAGES:
        return False


def read_facts(path: str | Path) -> dict[str, Any] | None:
    """Return the attributes of a case's HDF5 file and its `pixels` (None if it is unlabelled).

    None if the file does not exist, cannot be read or has an older schema: the case is built again. InputError for a
    newer schema, or none.
    """
    try:
        with opened(path) as file:
            facts = dict(file.attrs)
            if is_older(facts.get("schema")):
                return None
            check_schema(facts.get("schema"), path)
            check_layout(file)
            facts["pixels"] = file["pixels"][...] if "pixels" in file else None
    except _DAMAGES:
        return None
    return facts


def is_older(schema: Any) -> bool:
    """Return whether a value is the schema number of an older version."""
    return isinstance(schema, int | np.integer) and int(schema) < SCHEMA


def check_schema(found: Any, path: str | Path) -> None:
    """Raise InputError unless `found`, the schema number of the cache file `path`, is this version's."""
    if found == SCHEMA:
        return
    if is_older(found):
        remedy = "run python -m data_prep.build on its source again, which remakes the cases of an older schema"
    else:
        remedy = "choose another folder, or use the version that made it"
    raise InputError(f"cache of schema {found}, this version reads {SCHEMA}; {remedy}", path=path)
