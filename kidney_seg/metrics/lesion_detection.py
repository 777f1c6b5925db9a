"""Detection of single tumors: connected components of the true and the predicted labels, and how they overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.geometry.components import connected_objects, largest_diameter_mm
from kidney_seg.metrics.overlap import check_shapes, voxel_ml

HIT_IOU = 0.1  # nnDetection's threshold in 3-D (Baumgartner et al. 2021): presence counts, not the outline
SPECK_ML = 0.05  # smaller objects are specks: 126 patients of KiTS19 have 26 of up to .026 mL, and none up to .126
SIZES_MM = (20.0, 40.0, 70.0)  # 40 and 70 separate T1a, T1b and T2 of the TNM classification
SIZE_CLASSES = ("up to 20 mm", "20 to 40 mm", "40 to 70 mm", "over 70 mm")


@dataclass(frozen=True)
class Lesion:
    """A true tumor. found: whether it was detected; dice: with the predicted objects that touch it."""

    diameter_mm: float
    volume_ml: float
    found: bool
    dice: float


def size_class(diameter_mm: float) -> str:
    """Return the entry of `SIZE_CLASSES` for a diameter; a bound belongs to the smaller class.

    >>> size_class(20.0), size_class(40.1)
    ('up to 20 mm', '40 to 70 mm')
    """
    return SIZE_CLASSES[sum(diameter_mm > bound for bound in SIZES_MM)]


def detect(truth_mask: np.ndarray, predicted_mask: np.ndarray, spacing_mm: Sequence[float]) -> tuple[list[Lesion], int]:
    """Return the true tumors, largest first, and the number of false ones.

    A tumor is a 26-connected component of at least `SPECK_ML`; smaller ones, true or predicted, count as background. A
    true tumor is found if its intersection over union with the predicted components that touch it (without their
    voxels in other true tumors) is at least `HIT_IOU`. A predicted tumor that touches no found tumor is false. Masks
    are bool [z, y, x] and may be empty. ValueError if their shapes differ.
    """
    truth_mask, predicted_mask = np.asarray(truth_mask, bool), np.asarray(predicted_mask, bool)
    check_shapes(truth_mask, predicted_mask)
    truth, true_voxels = _objects(truth_mask, spacing_mm)
    predicted, predicted_voxels = _objects(predicted_mask, spacing_mm)
    both = truth_mask & predicted_mask
    shared = np.zeros((len(true_voxels), len(predicted_voxels)), np.int64)  # voxels of true object i in predicted j
    np.add.at(shared, (truth[both], predicted[both]), 1)
    shared[true_voxels == 0], shared[:, predicted_voxels == 0] = 0, 0  # specks
    in_tumors = shared.sum(axis=0)  # voxels of predicted object j in any true one

    lesions, explained = [], np.zeros(len(predicted_voxels), bool)
    for number in np.argsort(-true_voxels, kind="stable")[: np.count_nonzero(true_voxels)]:
        touching = shared[number] > 0
        hit = int(shared[number].sum())
        own = int((predicted_voxels[touching] - in_tumors[touching]).sum()) + hit
        size = int(true_voxels[number])
        found = hit >= HIT_IOU * (size + own - hit)
        if found:
            explained |= touching
        diameter_mm = largest_diameter_mm(truth == number, spacing_mm)
        lesions.append(Lesion(diameter_mm, size * voxel_ml(spacing_mm), found=bool(found), dice=2 * hit / (size + own)))
    return lesions, int(np.count_nonzero(predicted_voxels[~explained]))


def _objects(mask: np.ndarray, spacing_mm: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the components numbered from 1 in an array, and voxels by number: 0 for specks and the background."""
    objects, voxels, _ = connected_objects(mask)
    voxels[voxels * voxel_ml(spacing_mm) < SPECK_ML * (1 - 1e-6)] = 0  # rounding of the spacing must not decide
    return objects, voxels
