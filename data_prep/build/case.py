"""Build one case of the cache: read it, check it, resample it to the network's grid and write it."""

from __future__ import annotations

import errno
import json
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cache.case_file import is_whole, read_facts, write_case
from data_prep.cache.manifest import CacheEntry
from data_prep.datasets.kits import Case
from data_prep.errors import InputError
from data_prep.files.checksums import checked_sha256, sha256_of
from data_prep.geometry.network_grid import GridSettings, labels_to_network, network_pixel_mm, to_network
from data_prep.geometry.source_grid import SourceGrid, same_grid
from data_prep.geometry.types import triple
from data_prep.labels import CYST, KIDNEY, TUMOR
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
    except MemoryError:
        return Failed(f"{name}: not enough memory; run again with fewer --jobs")
    except Exception as error:
        if isinstance(error, OSError) and (error.errno in _NO_ROOM or _of_the_cache(error, task.cache)):
            return error
        line = f"{name}: unexpected {type(error).__name__}: {' '.join(str(error).split())}"
        return Failed(f"{line}; a defect of this program, please report it", traceback.format_exc())


def _of_the_cache(error: OSError, cache: Path) -> bool:
    return error.filename is not None and Path(error.filename).parent == cache


def _build_case(task: Task) -> Built:
    case, settings = task.case, task.settings
    path = task.cache / f"{case.name}.h5"
    paths = {
        "image_path": str(case.image.resolve()),
        "label_path": str(case.labels.resolve()) if case.labels else None,
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
            return Built(_entry(path, {**existing, **paths}, found), kept=True)

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
    network_labels = None
    if case.labels is not None:
        labels, kidney_voxels, tumor_voxels = _labels_of(grid, shape, case.labels)
        voxel_ml = float(np.prod(spacing_mm)) / 1000
        facts["kidney_ml"] = kidney_voxels * voxel_ml
        facts["tumor_ml"] = tumor_voxels * voxel_ml
        network_labels = labels_to_network(labels, spacing_mm, settings)
        del labels
    made = write_case(path, network_image, network_labels, facts)
    written = read_facts(path)
    if written is None:
        raise InputError("cannot be read right after it was written; check the disk, then run again", path=path)
    return Built(_entry(path, {**written, **paths}, made), kept=False, notes=notes)


def _labels_of(grid: SourceGrid, shape: tuple[int, ...], path: Path) -> tuple[np.ndarray, int, int]:
    # (labels with cysts as kidney, voxels of kidney and tumor, voxels of tumor)
    volume = read_labels(path)
    labels = volume.voxels if volume.voxels.flags.writeable else volume.voxels.copy()
    if labels.shape != shape:
        raise InputError(
            f"labels of {labels.shape} voxels (z, y, x) for an image of {shape}; expected the same shape", path=path
        )
    if not same_grid(grid, volume.source):
        raise InputError(
            "labels and image lie on different grids (spacing, origin or axes); expected one grid; resample the labels "
            "to the image",
            path=path,
        )
    kidney = tumor = 0
    for plane in labels:  # plane by plane: a mask of a whole scan is as large as the labels
        foreground = int(np.count_nonzero(plane))
        if foreground:
            plane[plane == CYST] = KIDNEY  # KiTS19 counts cysts as kidney
            kidney += foreground
            tumor += int(np.count_nonzero(plane == TUMOR))
    return labels, kidney, tumor


def _entry(path: Path, facts: dict[str, Any], sha256: str) -> CacheEntry:
    pixels = facts["pixels"]
    labelled = pixels is not None
    shape_zyx = triple(int(n) for n in facts["shape_zyx"])
    return CacheEntry(
        case=str(facts["case"]),
        patient=str(facts["patient"]),
        file=path.name,
        sha256=sha256,
        slices=shape_zyx[0],
        labelled=labelled,
        pixel_mm=float(facts["pixel_mm"]),
        spacing_mm=triple(float(mm) for mm in facts["spacing_mm"]),
        shape_zyx=shape_zyx,
        image_path=facts["image_path"],
        label_path=facts["label_path"],
        image_sha256=facts["image_sha256"],
        label_sha256=facts.get("label_sha256"),
        kidney_ml=float(facts["kidney_ml"]) if labelled else None,
        tumor_ml=float(facts["tumor_ml"]) if labelled else None,
        pixels=tuple(tuple(row) for row in pixels.tolist()) if labelled else None,
        metadata=json.loads(facts["metadata"]) if facts.get("metadata") else None,
        slices_sha256=str(facts["slices_sha256"]),
    )
