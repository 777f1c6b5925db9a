"""What is measured on one scan: false tumors by height, and the kidneys with their sinus filled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_prep.geometry.components import bounding_box, connected_objects
from data_prep.labels import TUMOR
from kidney_seg.config.prediction import ANCHORED, KIDNEY_ML
from kidney_seg.evaluate.case_scores import LESIONS, score_pair
from kidney_seg.metrics.lesion_detection import SPECK_ML
from kidney_seg.metrics.overlap import dice, volume_ml, voxel_ml
from kidney_seg.postprocess.kidneys import find_kidneys

HEIGHTS = ("above", "at", "below", "unknown")  # where a false tumor is: relative to the kidneys' slices
SINUS_MM = 10.0  # radius of the disk of the closing: an opening of the sinus of up to 20 mm is closed

Levels = tuple[int, int]  # lowest and highest slice with kidney


def measure(
    truth: np.ndarray | None, predicted: np.ndarray, spacing_mm: Sequence[float], before: np.ndarray | None = None
) -> dict[str, Any]:
    """Return the figures of one scan, without its name; NaN for what it does not have.

    Args:
        truth: uint8 [z, y, x] of `read_labels`; None for a scan without labels, which counts as one without tumor.
        predicted: uint8 [z, y, x], the labels that `predict` would write.
        spacing_mm: of the three axes.
        before: the labels before post-processing; None if there was none.
    """
    row: dict[str, Any] = {}
    levels = None if truth is None else kidney_levels(truth, spacing_mm)
    row["levels_from"] = "truth" if levels else ""
    if levels is None and (levels := kidney_levels(predicted, spacing_mm)):
        row["levels_from"] = "prediction"
    row["lowest_kidney_slice"], row["highest_kidney_slice"] = levels or (math.nan, math.nan)
    row |= {
        "predicted_kidney_ml": volume_ml(predicted > 0, spacing_mm),
        "predicted_tumor_ml": volume_ml(predicted == TUMOR, spacing_mm),
        "removed_ml": math.nan if before is None else volume_ml((before > 0) & (predicted == 0), spacing_mm),
        "removed_tumor_ml": math.nan if before is None else volume_ml((before == 2) & (predicted == 0), spacing_mm),
    }
    row |= false_tumors(truth, predicted, spacing_mm, levels)
    if truth is None:
        return {"kind": "healthy", **row}
    scores = score_pair(truth, predicted, spacing_mm)
    del scores[LESIONS], scores["false_tumors"]  # other false tumors: it counts badly outlined ones
    row["kidney_dice_filled"] = dice(filled_kidneys(truth, spacing_mm), predicted > 0)
    return {"kind": "tumor" if (truth == TUMOR).any() else "healthy", **scores, **row}


def kidney_levels(labels: np.ndarray, spacing_mm: Sequence[float]) -> Levels | None:
    """Return the lowest and highest slice of kidney, without tumor, in the kidneys of a label map; None without any.

    Kidneys are those of the anchored rule, so that a false tumor far above them does not count.
    """
    found = find_kidneys(labels, spacing_mm, KIDNEY_ML, ANCHORED)
    if found is None or not found.is_kidney.any():
        return None
    mask = found.is_kidney[found.ids] & (labels[found.box] != TUMOR)
    slices = np.flatnonzero(mask.any(axis=(1, 2))) + found.box[0].start
    return (int(slices[0]), int(slices[-1])) if slices.size else None


def false_tumors(
    truth: np.ndarray | None, predicted: np.ndarray, spacing_mm: Sequence[float], levels: Levels | None
) -> dict[str, float]:
    """Return `false_tumor_ml` and `false_tumors` of the predicted tumors that touch no true one, in all and by height.

    A tumor is 26-connected. All voxels count, by their own slice; objects are counted from `SPECK_ML`, by the slice of
    their center. Without kidneys the height is unknown.
    """
    ml = dict.fromkeys(HEIGHTS, 0.0)
    objects = dict.fromkeys(HEIGHTS, 0)
    box = bounding_box(predicted == TUMOR)
    if box is not None:
        ids, voxels, boxes = connected_objects(predicted[box] == TUMOR)
        is_false = np.arange(voxels.size) > 0
        if truth is not None:
            is_false[ids[truth[box] == TUMOR]] = False
        one_ml = voxel_ml(spacing_mm)
        for z, count in enumerate(is_false[ids].sum(axis=(1, 2)), box[0].start):
            ml[_height(z, levels)] += float(count) * one_ml
        for number in np.flatnonzero(is_false & (voxels * one_ml >= SPECK_ML * (1 - 1e-6))):
            counts = (ids[boxes[number]] == number).sum(axis=(1, 2))
            center = box[0].start + boxes[number][0].start + float(np.arange(counts.size) @ counts / counts.sum())
            objects[_height(center, levels)] += 1
    return {
        "false_tumor_ml": sum(ml.values()),
        **{f"false_tumor_{height}_ml": ml[height] for height in HEIGHTS},
        "false_tumors": sum(objects.values()),
        **{f"false_tumors_{height}": objects[height] for height in HEIGHTS},
    }


def _height(z: float, levels: Levels | None) -> str:
    if levels is None:
        return "unknown"
    return "above" if z > levels[1] else "below" if z < levels[0] else "at"  # z ascends to superior


def filled_kidneys(labels: np.ndarray, spacing_mm: Sequence[float], radius_mm: float = SINUS_MM) -> np.ndarray:
    """Return the mask of label > 0 with the renal sinus filled, bool [z, y, x].

    Some protocols label the sinus as kidney, others leave it out. In each axial slice of each object (26-connected; so
    that two kidneys do not grow together), the mask is closed with a disk of `radius_mm`, and holes are filled. The
    result holds the mask.
    """
    filled = labels > 0
    box = bounding_box(filled)
    if box is None:
        return filled
    ids, _, boxes = connected_objects(labels[box] > 0)
    for number, own in enumerate(boxes[1:], 1):
        place = tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(box, own, strict=True))
        for z, plane in enumerate(ids[own] == number, place[0].start):
            filled[z][place[1:]] |= _closed(plane, spacing_mm[1:], radius_mm)
    return filled


def _closed(plane: np.ndarray, spacing_mm: Sequence[float], radius_mm: float) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes, distance_transform_edt

    if not plane.any():
        return plane
    margin = [math.ceil(radius_mm / mm) + 1 for mm in spacing_mm]
    padded = np.pad(plane, [(n, n) for n in margin])
    grown = distance_transform_edt(~padded, sampling=spacing_mm) <= radius_mm
    closed = distance_transform_edt(grown, sampling=spacing_mm) > radius_mm
    rows, columns = (slice(n, -n) for n in margin)
    return binary_fill_holes(closed | padded)[rows, columns]
