"""What the viewer shows beside the picture: a row per kidney and tumor with its place, flags, model, truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_prep.geometry.components import connected_objects
from data_prep.labels import KIDNEY, TUMOR
from kidney_seg.metrics.overlap import dice, tumor_mask
from kidney_seg.postprocess.measurements import SMALL_TUMOR_ML

_PERCENT = 100.0


def findings(
    labels: np.ndarray,
    record: Mapping[str, Any],
    spacing_mm: Sequence[float],
    percent: np.ndarray | None = None,
    truth: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return what the page's tables show, ready for JSON.

    Args:
        labels: uint8 [z, y, x], axial order.
        record: what `predict` writes of them.
        spacing_mm: z, y, x.
        percent: the tumor's probability, uint8 [z, y, x] in percent; gives each tumor its confidence, the mean over its
            voxels in 0..1, which is None without it.
        truth: true labels on the same grid; gives `dice` of kidney with masses and of tumor, None where both are empty.

    Without any object the lists are empty and `start` is None; else it is the voxel [z, y, x] to look at first.
    """
    objects = _tumor_objects(labels, spacing_mm, percent)
    tumors = []
    for row in record["tumors"]:
        own = min(objects, key=lambda one: abs(one["volume_ml"] - row["volume_ml"]), default=None)
        same = [one for one in objects if one["slices"] == row["slices"]]
        own = min(same, key=lambda one: abs(one["volume_ml"] - row["volume_ml"]), default=own)
        if own is not None:
            objects.remove(own)
        place, confidence = (None, None) if own is None else (own["place"], own["confidence"])
        tumors.append({**row, "place": place, "confidence": confidence})
    kidneys = [{**row, "place": _middle_of(labels, row["slices"], row["side"])} for row in record["kidneys"]]
    places = [one["place"] for one in (*tumors, *kidneys) if one["place"] is not None]
    found = {
        "volumes_ml": record["volumes_ml"],
        "kidneys": kidneys,
        "tumors": tumors,
        "small_tumors": record.get("small_tumors", {"objects": 0, "volume_ml": 0.0}),
        "smallest_ml": SMALL_TUMOR_ML,
        "flags": [flag["what"] for flag in record["flags"]],
        "model": record.get("model") or {},
        "start": places[0] if places else None,
        "dice": None,
    }
    if truth is not None:
        masks = {"kidney with masses": (truth > 0, labels > 0), "tumor": (tumor_mask(truth), tumor_mask(labels))}
        scores = {name: dice(*pair) for name, pair in masks.items()}
        found["dice"] = {name: None if np.isnan(score) else round(score, 4) for name, score in scores.items()}
    return found


def _tumor_objects(labels: np.ndarray, spacing_mm: Sequence[float], percent: np.ndarray | None) -> list[dict[str, Any]]:
    """Return the 26-connected tumors, each with volume, slices, a voxel inside and the mean probability."""
    if not (labels == TUMOR).any():
        return []
    ids, sizes, boxes = connected_objects(labels == TUMOR)
    found = []
    for number, box in enumerate(boxes[1:], 1):
        mask = ids[box] == number
        confidence = None if percent is None else float(percent[box][mask].mean()) / _PERCENT
        found.append(
            {
                "volume_ml": float(sizes[number] * np.prod(spacing_mm) / 1000),
                "slices": [box[0].start, box[0].stop - 1],
                "place": _inside(mask, [side.start for side in box]),
                "confidence": None if confidence is None else round(confidence, 3),
            }
        )
    return found


def _inside(mask: np.ndarray, first: Sequence[int]) -> list[int]:
    """Return the voxel of a mask nearest to the middle of its largest slice, in the whole array's indices."""
    z = int(mask.sum(axis=(1, 2)).argmax())
    rows, columns = np.nonzero(mask[z])
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    return [int(first[0]) + z, int(first[1]) + int(rows[nearest]), int(first[2]) + int(columns[nearest])]


def _middle_of(labels: np.ndarray, slices: Sequence[int], side: str) -> list[int] | None:
    """Return a voxel of kidney in the middle of its slices, on its side of the image; None if there is none."""
    z = (slices[0] + slices[1]) // 2
    mask = labels[z] == KIDNEY
    middle = mask.shape[1] // 2
    if side == "left":  # x ascends to the patient's left
        mask[:, :middle] = False
    elif side == "right":
        mask[:, middle:] = False
    return _inside(mask[None], [z, 0, 0]) if mask.any() else None
