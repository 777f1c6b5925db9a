"""Build one case of the cache: read it, check it, resample it to the network's grid and write it."""

from __future__ import annotations

import errno
import json
import os
import traceback
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cache.case_file import is_whole, read_facts, write_case
from data_prep.cache.manifest import CacheEntry
from data_prep.datasets.kits import Case
from data_prep.errors import InputError, is_out_of_memory
from data_prep.files.checksums import checked_sha256, sha256_of
from data_prep.files.typed import typed
from data_prep.geometry.grid_loss import GridLoss, grid_loss
from data_prep.geometry.label_numbers import doubtful_numbers
from data_prep.geometry.network_grid import GridSettings, labels_to_network, network_pixel_mm, to_network
from data_prep.geometry.placement import place_labels
from data_prep.geometry.source_grid import SourceGrid
from data_prep.geometry.types import triple
from data_prep.labels import TUMOR, cysts_to_kidney
from data_prep.volume import read_labels, read_volume

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # would stop every other case as well


@dataclass(frozen=True)
class Task:
    """One case to build in the folder `cache`.

    listed: the manifest's entry of an existing file. image_sha256: saves reading the image for its checksum, if known.
    """

    case: Case
    cache: Path
    settings: GridSettings
    listed: CacheEntry | None = None
    image_sha256: str | None = None


@dataclass(frozen=True)
class Built:
    """A case in the cache. kept: its file existed before this build. notes: what reading the image had to decide."""

    entry: CacheEntry
    kept: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """A case that could not be used: one line that begins with its name; the traceback of a defect of this program."""

    line: str
    traceback: str | None = None


def build_case(task: Task) -> Built | Failed | OSError:
    """Write one case's file, or keep the existing one.

    A file is kept if it holds what was asked for (case, patient, settings, metadata), was made from the same source
    files, and is complete: by the manifest's entry, or by its own checksum. An OSError that would stop every case, such
    as a full disk, is returned as it is.
    """
    name = task.case.name
    try:
        return _build_case(task)
    except InputError as error:
        return Failed(f"{name}: {error}")
    except Exception as error:
        if is_out_of_memory(error):
            return Failed(f"{name}: not enough memory; run again with fewer --jobs")
        in_cache = isinstance(error, OSError) and error.filename and Path(error.filename).parent == task.cache
        if isinstance(error, OSError) and (error.errno in _NO_ROOM or in_cache):
            return error
        line = f"{name}: unexpected {type(error).__name__}: {' '.join(str(error).split())}"
        return Failed(f"{line}; a defect of this program, please report it", traceback.format_exc())


def _build_case(task: Task) -> Built:
    case, settings = task.case, task.settings
    path = task.cache / f"{case.name}.h5"
    paths = {
        "image_path": os.path.realpath(case.image),
        "label_path": os.path.realpath(case.labels) if case.labels else None,
    }
    facts: dict[str, Any] = {
        "case": case.name,
        "patient": case.patient,
        "settings": json.dumps(asdict(settings)),
        "metadata": json.dumps(case.metadata) if case.metadata is not None else None,
        "image_sha256": task.image_sha256 or checked_sha256(case.image),
        "label_sha256": checked_sha256(case.labels) if case.labels else None,
    }
    existing = read_facts(path)
    # type and value: in a damaged file a text may have become an array
    if existing is not None and all((type(existing.get(k)), existing.get(k)) == (type(v), v) for k, v in facts.items()):
        found = sha256_of(path)
        if (task.listed is not None and task.listed.sha256 == found) or is_whole(path):
            entry = _entry(path, {**existing, **paths}, found)
            return Built(replace(entry, loss=_loss_of_kept(task, entry, existing)), kept=True)

    image = read_volume(case.image)
    grid, notes = image.source, image.notes
    shape, spacing_mm = image.voxels.shape, image.spacing_mm
    network_image = to_network(image.voxels, spacing_mm, settings)
    del image  # frees the largest array before the labels are read
    facts |= {
        "spacing_mm": spacing_mm,
        "shape_zyx": shape,
        "pixel_mm": network_pixel_mm(shape[1:], spacing_mm[1:], settings),
        "source_grid": json.dumps(asdict(grid)),
    }
    network_labels = loss = None
    if case.labels is not None:
        labels, kidney_voxels, tumor_voxels, more = _labels_of(grid, case.labels)
        notes += more
        voxel_ml = float(np.prod(spacing_mm)) / 1000
        facts["kidney_ml"] = kidney_voxels * voxel_ml
        facts["tumor_ml"] = tumor_voxels * voxel_ml
        network_labels = labels_to_network(labels, spacing_mm, settings)
        loss = grid_loss(labels, spacing_mm, settings)
        del labels
    made = write_case(path, network_image, network_labels, facts)
    written = read_facts(path)
    if written is None:
        raise InputError("cannot be read right after it was written; check the disk, then run again", path=path)
    return Built(replace(_entry(path, {**written, **paths}, made), loss=loss), kept=False, notes=notes)


def _loss_of_kept(task: Task, entry: CacheEntry, facts: dict[str, Any]) -> GridLoss | None:
    # a case of version 0.1, or of a build that was stopped, has none yet: its labels are read again
    if task.case.labels is None:
        return None
    if task.listed is not None and task.listed.loss is not None and task.listed.sha256 == entry.sha256:
        return task.listed.loss
    grid = typed(SourceGrid, json.loads(str(facts["source_grid"])), "source_grid")
    return grid_loss(_labels_of(grid, task.case.labels)[0], entry.spacing_mm, task.settings)


def _labels_of(grid: SourceGrid, path: Path) -> tuple[np.ndarray, int, int, tuple[str, ...]]:
    # (labels with cysts as kidney, voxels of kidney and tumor, voxels of tumor, notes)
    volume = place_labels(read_labels(path), grid)
    notes = (*volume.notes, *(f"labels: {doubt}" for doubt in doubtful_numbers(volume.voxels, volume.spacing_mm)))
    labels = volume.voxels if volume.voxels.flags.writeable else volume.voxels.copy()
    kidney = tumor = 0
    for plane in labels:  # plane by plane: a mask of a whole scan is as large as the labels
        foreground = int(np.count_nonzero(plane))
        if foreground:
            plane[...] = cysts_to_kidney(plane)
            kidney += foreground
            tumor += int(np.count_nonzero(plane == TUMOR))
    return labels, kidney, tumor, notes


def _entry(path: Path, facts: dict[str, Any], sha256: str) -> CacheEntry:
    pixels, shape_zyx = facts["pixels"], triple(int(n) for n in facts["shape_zyx"])
    labelled = pixels is not None
    values: dict[str, Any] = {name: str(facts[name]) for name in ("case", "patient", "image_sha256", "slices_sha256")}
    values |= {name: facts[name] for name in ("image_path", "label_path")}
    values |= {name: float(facts[name]) if labelled else None for name in ("kidney_ml", "tumor_ml")}
    return CacheEntry(
        **values,
        file=path.name,
        sha256=sha256,
        slices=shape_zyx[0],
        labelled=labelled,
        pixel_mm=float(facts["pixel_mm"]),
        spacing_mm=triple(float(mm) for mm in facts["spacing_mm"]),
        shape_zyx=shape_zyx,
        label_sha256=facts.get("label_sha256"),
        pixels=tuple(tuple(row) for row in pixels.tolist()) if labelled else None,
        metadata=json.loads(facts["metadata"]) if facts.get("metadata") else None,
    )
