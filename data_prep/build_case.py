"""One case of the cache: read, checked, brought to the network's grid, written."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cache import CacheEntry, count_pixels, read_facts, write_case
from data_prep.command import InputError
from data_prep.files import sha256_of
from data_prep.grid import GridSettings, labels_to_network, network_pixel_mm, to_network
from data_prep.kits import CYST, Case
from data_prep.volume import Volume, read_labels, read_volume, same_grid


def build_case(
    case: Case, cache: Path, settings: GridSettings, sha256: str | None = None
) -> tuple[CacheEntry, bool] | str:
    """Make one case's file, or keep the one that is there: (entry, whether it was kept), or one line why not.

    A file is kept if it was made from the same source files and, where `sha256` says what it was, has not
    changed. `settings` must be the file's own.
    """
    try:
        return _build_case(case, cache, settings, sha256)
    except InputError as error:
        return f"{case.name}: {error}"


def _build_case(case: Case, cache: Path, settings: GridSettings, sha256: str | None) -> tuple[CacheEntry, bool]:
    path = cache / f"{case.name}.h5"
    sources = {
        "image_path": str(case.image.resolve()),
        "image_sha256": _source_sha256(case.image),
        "label_path": str(case.labels.resolve()) if case.labels else None,
        "label_sha256": _source_sha256(case.labels) if case.labels else None,
    }
    facts = read_facts(path)
    if facts is not None:
        hashes = ("image_sha256", "label_sha256")
        if all(facts.get(name) == sources[name] for name in hashes):
            found = sha256_of(path)
            if sha256 in (None, found):
                return _entry(path, {**facts, **sources}, found), True
        elif facts["image_path"] != sources["image_path"]:
            raise InputError(
                f"the cache holds another case of this name, from {facts['image_path']}; choose another --cache"
            )
    image = read_volume(case.image)
    network_image = to_network(image.voxels, image.spacing_mm, settings)
    facts = {
        "case": case.name,
        "patient": case.patient,
        "spacing_mm": image.spacing_mm,
        "shape_zyx": image.voxels.shape,
        "pixel_mm": network_pixel_mm(image.voxels.shape[1:], image.spacing_mm[1:], settings),
        "source_grid": json.dumps(asdict(image.source)),
        "settings": json.dumps(asdict(settings)),
        "metadata": json.dumps(case.metadata) if case.metadata is not None else None,
        **sources,
    }
    network_labels = pixels = None
    if case.labels is not None:
        labels = _labels_of(image, case.labels)
        voxel_ml = float(np.prod(image.spacing_mm)) / 1000
        facts["kidney_ml"] = int((labels > 0).sum()) * voxel_ml
        facts["tumor_ml"] = int((labels == 2).sum()) * voxel_ml
        network_labels = labels_to_network(labels, image.spacing_mm, settings)
        pixels = count_pixels(network_labels)
    made = write_case(path, network_image, network_labels, facts)
    return _entry(path, {**facts, "pixels": pixels}, made), False


def _source_sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a NIfTI file") from None


def _labels_of(image: Volume, path: Path) -> np.ndarray:
    labels = read_labels(path)
    if labels.voxels.shape != image.voxels.shape:
        raise InputError(
            f"{path}: labels of {labels.voxels.shape} voxels (z, y, x) for an image of {image.voxels.shape}; "
            "expected the same shape"
        )
    if not same_grid(image.source, labels.source):
        raise InputError(
            f"{path}: labels and image lie on different grids (spacing, origin or axes); "
            "expected one grid; resample the labels to the image"
        )
    return np.where(labels.voxels == CYST, np.uint8(1), labels.voxels)  # KiTS19 counts cysts as kidney


def _entry(path: Path, facts: dict[str, Any], sha256: str) -> CacheEntry:
    pixels = facts["pixels"]
    labelled = pixels is not None
    shape_zyx = tuple(int(n) for n in facts["shape_zyx"])
    return CacheEntry(
        case=str(facts["case"]),
        patient=str(facts["patient"]),
        file=path.name,
        sha256=sha256,
        slices=shape_zyx[0],
        labelled=labelled,
        pixel_mm=float(facts["pixel_mm"]),
        spacing_mm=tuple(float(mm) for mm in facts["spacing_mm"]),
        shape_zyx=shape_zyx,
        image_path=facts["image_path"],
        label_path=facts["label_path"],
        image_sha256=facts["image_sha256"],
        label_sha256=facts["label_sha256"],
        kidney_ml=float(facts["kidney_ml"]) if labelled else None,
        tumor_ml=float(facts["tumor_ml"]) if labelled else None,
        pixels=tuple(tuple(row) for row in pixels.tolist()) if labelled else None,
        metadata=json.loads(facts["metadata"]) if facts.get("metadata") else None,
    )
