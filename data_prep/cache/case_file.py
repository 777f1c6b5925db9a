"""One case of a cache: its HDF5 file, written whole, and able to tell by itself whether it still is.

The format, dataset by dataset and attribute by attribute, is in `docs/explanation/cache_format.md`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cache.packed_slices import write_slices
from data_prep.errors import InputError
from data_prep.files.atomic import replacing
from data_prep.version import code_version

SCHEMA = 3
_CONTENT = "content_sha256"
_DAMAGES = (OSError, RuntimeError, KeyError, ValueError, TypeError)  # what h5py raises for a file that is not whole


def write_case(path: str | Path, image: np.ndarray, label: np.ndarray | None, facts: dict[str, Any]) -> str:
    """Write one case's HDF5 file, whole or not at all; return its SHA-256.

    image: int16 HU [slices, size, size]; label: uint8 of that shape, or None; facts become the file's attributes
    (None is left out, lists of numbers become arrays), beside `schema`, `code_version`, `slices_sha256` and
    `content_sha256`. On one machine the same content gives the same bytes; on any, the same `content_sha256`.
    """
    import h5py

    # made in memory: a full disk is then met by one plain write, not inside HDF5
    with h5py.File("case.h5", "w", driver="core", backing_store=False) as file:
        image = np.ascontiguousarray(image, "<i2")
        write_slices(file, "image", image)
        beside = {}
        if label is not None:
            beside = {"label": label.astype(np.uint8, copy=False), "pixels": count_pixels(label)}
            write_slices(file, "label", beside["label"])
            file.create_dataset("pixels", data=beside["pixels"])
        own = {
            "schema": SCHEMA,
            "code_version": code_version(),
            "slices_sha256": hashlib.sha256(image.data).hexdigest(),
        }
        for name, value in {**facts, **own}.items():
            if value is not None:
                file.attrs[name] = value
        file.attrs[_CONTENT] = content_sha256(dict(file.attrs), beside)
        file.flush()
        content = file.id.get_file_image()
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def count_pixels(label: np.ndarray) -> np.ndarray:
    """Count the pixels of each class by slice: uint8 [slices, y, x] -> int64 [slices, 3]."""
    counts = [[np.count_nonzero(plane == value) for value in range(3)] for plane in label]
    return np.array(counts, np.int64).reshape(-1, 3)


def content_sha256(attributes: dict[str, Any], beside: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of what a case's file holds, however it is stored.

    Over: all attributes but `content_sha256` itself as JSON (keys sorted, Python's default separators), among which
    `slices_sha256` stands for the image, then the bytes of `label` (uint8) and `pixels` (int64), where these are
    there, in C order, little-endian.
    """
    plain = {name: np.asarray(value).tolist() for name, value in attributes.items() if name != _CONTENT}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name, dtype in (("label", np.uint8), ("pixels", "<i8")):
        if name in beside:
            digest.update(np.ascontiguousarray(beside[name], dtype).data)
    return digest.hexdigest()


def is_whole(path: str | Path) -> bool:
    """Whether a case's file holds what was written: every voxel and attribute is read and compared by SHA-256."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            attributes = dict(file.attrs)
            beside = {name: file[name][...] for name in file if name != "image"}
            return attributes["slices_sha256"] == hashlib.sha256(file["image"][...]).hexdigest() and attributes[
                _CONTENT
            ] == content_sha256(attributes, beside)
    except _DAMAGES:
        return False


def read_facts(path: str | Path) -> dict[str, Any] | None:
    """Return the attributes of a case's HDF5 file and its `pixels` (None if it is unlabelled).

    None where there is no such file, where it cannot be read, and for an older schema: such a case is to be made
    again. InputError for a newer schema, or none.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            facts = dict(file.attrs)
            facts["pixels"] = file["pixels"][...] if "pixels" in file else None
    except _DAMAGES:
        return None
    if is_older(facts.get("schema")):
        return None
    check_schema(facts.get("schema"), path)
    return facts


def is_older(schema: Any) -> bool:
    """Whether a schema number, from wherever it was read, is one of an older version."""
    return isinstance(schema, int | np.integer) and int(schema) < SCHEMA


def check_schema(found: Any, path: str | Path) -> None:
    """Raise InputError unless `found`, the schema number of the cache file `path`, is the one of this version."""
    if found == SCHEMA:
        return
    if is_older(found):
        remedy = "run python -m data_prep.build on its source again, which remakes the cases of an older schema"
    else:
        remedy = "choose another folder, or use the version that made it"
    raise InputError(f"{path}: cache of schema {found}, this version reads {SCHEMA}; {remedy}")
