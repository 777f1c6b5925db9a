"""Post-processing: find the two kidneys and remove the objects far from both, by the paper's rule or the anchored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.errors import InputError
from data_prep.geometry.components import surface_voxels
from kidney_seg.config.prediction import ANCHORED, DISTANCE_MM, KIDNEY_ML, PAPER, RULES, TUMOR_MM, RuleSettings
from kidney_seg.postprocess.kidneys import TOLERANCE, Components, find_kidneys, tumor_voxels


@dataclass(frozen=True)
class Component:
    """One object of a label map: voxels with label > 0 that touch by face, edge or corner (26-connected)."""

    id: int  # 1 for the largest, and so on
    role: str  # "kidney", "kept" (near a kidney, or no kidney was found) or "removed"
    volume_ml: float  # kidney and tumor together
    tumor_ml: float  # its voxels with label 2
    distance_mm: float  # to the nearest kidney, surface to surface; 0 for kidneys, NaN without a kidney


def remove_distant_objects(
    labels: np.ndarray,
    spacing_mm: Sequence[float],
    distance_mm: float = DISTANCE_MM,
    kidney_ml: float = KIDNEY_ML,
    rule: str = PAPER,
    tumor_mm: float = TUMOR_MM,
) -> np.ndarray:
    """Return a copy of the labels without the objects that are farther than `distance_mm` from the kidneys.

    The kidneys are the objects that `find_kidneys` names. Distances are from surface to surface, between the nearest
    voxel centers (by centroids, a tumor of one liter would be 10 cm too far). Without a kidney, and in a single slice,
    where a section of the second kidney can be small, nothing is removed: a map never becomes empty.

    Kept voxels keep their labels, and a second call changes nothing. By the paper's rule an organ that is called kidney
    or tumor and is larger than a kidney is taken for one (`find_objects` shows it). `anchored` looks for what is called
    kidney, and removes objects with tumor that are farther than `tumor_mm` from both kidneys.

    Args:
        labels: integers [z, y, x]; 0 is background, all other labels count as one tissue.
        spacing_mm: of the three axes.
        distance_mm: largest distance of an object that is kept.
        kidney_ml: smallest volume of a kidney.
        rule: `paper` or `anchored`, see `find_kidneys`.
        tumor_mm: largest distance of an object with tumor that is kept, if `anchored`.

    Raises:
        ValueError: other than three axes and three positive spacings, a negative limit, or an unknown rule.

    Source: paper, section 1 ("finds the two kidneys including tumors ... If the distances between the small objects and
    the two kidneys are larger than a threshold ... they will be removed"). The paper gives no numbers; the defaults are
    measured on the KiTS19 labels. `anchored` is our own.
    """
    return _apply(labels, spacing_mm, RuleSettings(distance_mm, kidney_ml, rule, tumor_mm), beyond=False)[0]


def find_objects(
    labels: np.ndarray,
    spacing_mm: Sequence[float],
    distance_mm: float = DISTANCE_MM,
    kidney_ml: float = KIDNEY_ML,
    rule: str = PAPER,
    tumor_mm: float = TUMOR_MM,
) -> list[Component]:
    """Return the objects of a label map, largest first, with the role that `remove_distant_objects` gives each.

    Empty for an empty map. Arguments and errors as for `remove_distant_objects`.
    """
    return apply_rule(labels, spacing_mm, distance_mm, kidney_ml, rule, tumor_mm)[1]


def apply_rule(
    labels: np.ndarray,
    spacing_mm: Sequence[float],
    distance_mm: float = DISTANCE_MM,
    kidney_ml: float = KIDNEY_ML,
    rule: str = PAPER,
    tumor_mm: float = TUMOR_MM,
) -> tuple[np.ndarray, list[Component]]:
    """Return (`remove_distant_objects`, `find_objects`) of a label map, in the time of the latter."""
    settings = RuleSettings(distance_mm, kidney_ml, rule, tumor_mm)
    result, found, distances, removed = _apply(labels, spacing_mm, settings, beyond=True)
    if found is None:
        return result, []
    tumors = tumor_voxels(labels, found.box, found.ids, found.voxels.size)
    roles = np.where(found.is_kidney, "kidney", np.where(removed, "removed", "kept"))
    volumes_ml, tumors_ml = found.voxels * found.voxel_ml, tumors * found.voxel_ml
    return result, [
        Component(rank, str(roles[i]), float(volumes_ml[i]), float(tumors_ml[i]), float(distances[i]))
        for rank, i in enumerate(found.order, start=1)
    ]


def check_limits(settings: RuleSettings) -> None:
    """Raise InputError if a command's limits are negative or not numbers."""
    for name in ("distance_mm", "kidney_ml", "tumor_mm"):
        if not (value := getattr(settings, name)) >= 0:
            raise InputError(f"--{name.replace('_', '-')}: found {value:g}, expected a number of 0 or more")


def _apply(
    labels: np.ndarray, spacing_mm: Sequence[float], settings: RuleSettings, beyond: bool
) -> tuple[np.ndarray, Components | None, np.ndarray, np.ndarray]:
    """Return the cleaned labels, the objects of the given ones, their distances, and which of them are removed."""
    labels, spacing = np.asarray(labels), tuple(float(mm) for mm in spacing_mm)
    if labels.ndim != 3 or labels.dtype.kind not in "iub":
        raise ValueError(f"labels must be integers [z, y, x], found {labels.dtype} of shape {labels.shape}")
    if len(spacing) != 3 or not all(0 < mm < math.inf for mm in spacing):
        raise ValueError(f"spacing_mm must be three positive numbers, found {spacing_mm}")
    if not (settings.distance_mm >= 0 and settings.kidney_ml >= 0 and settings.tumor_mm >= 0):
        raise ValueError(f"limits must be 0 or more, found {settings}")
    if settings.rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, found {settings.rule!r}")

    result = labels.copy()
    found = find_kidneys(labels, spacing, settings.kidney_ml, settings.rule)
    if found is None:
        return result, None, np.zeros(1), np.zeros(1, bool)
    limits_mm = np.full(found.voxels.size, float(settings.distance_mm))
    if settings.rule == ANCHORED:
        limits_mm[tumor_voxels(labels, found.box, found.ids, limits_mm.size) > 0] = settings.tumor_mm
    distances = _distances_mm(found, spacing, float(limits_mm.max()), beyond)
    removed = distances > limits_mm * (1 + TOLERANCE)  # false for NaN: without a kidney
    if 1 in labels.shape:
        removed[:] = False
    for number in np.flatnonzero(removed):
        box = found.boxes[number]
        result[found.box][box][found.ids[box] == number] = 0
    return result, found, distances, removed


def _distances_mm(found: Components, spacing_mm: Sequence[float], limit_mm: float, beyond: bool) -> np.ndarray:
    """Return each object's distance to the nearest kidney: 0 for kidneys, NaN without a kidney.

    It is measured between the centers of the nearest surface voxels, so the empty gap is up to one voxel smaller. Up to
    `limit_mm` a distance map around the kidneys gives it (a whole CT can have 1059 x 512 x 512 voxels). Farther objects
    need a search among surface voxels, which takes most of the time; without `beyond` they get inf.
    """
    if not found.is_kidney.any():
        return np.full(found.voxels.size, math.nan)
    distances = np.where(found.is_kidney, 0.0, math.inf)
    distances[0] = 0.0
    if not np.isfinite(distances).all():
        _measure_near(found, spacing_mm, limit_mm, distances)
    if beyond and not np.isfinite(distances).all():
        _measure_far(found, spacing_mm, distances)
    return distances


def _measure_near(found: Components, spacing_mm: Sequence[float], limit_mm: float, distances: np.ndarray) -> None:
    import edt

    kidneys = [found.boxes[number] for number in found.kidneys]
    near = tuple(
        slice(max(0, min(box[axis].start for box in kidneys) - reach), max(box[axis].stop for box in kidneys) + reach)
        for axis, mm in enumerate(spacing_mm)
        for reach in [math.ceil(min(limit_mm / mm, found.ids.shape[axis])) + 1]
    )
    ids = found.ids[near]
    is_kidney = found.is_kidney[ids]
    to_kidney = edt.edt(~is_kidney, anisotropy=tuple(spacing_mm))  # float32 [z, y, x]
    others = (ids > 0) & ~is_kidney
    nearest = np.full(distances.size, math.inf)
    np.minimum.at(nearest, ids[others], to_kidney[others].astype(np.float64))
    nearest[nearest > limit_mm * (1 + TOLERANCE)] = math.inf  # part of an object may be outside this box
    np.minimum(distances, nearest, out=distances)


def _measure_far(found: Components, spacing_mm: Sequence[float], distances: np.ndarray) -> None:
    from scipy.spatial import cKDTree

    def surface(number: int) -> np.ndarray:
        box = found.boxes[number]
        voxels = surface_voxels(found.ids[box] == number) + [side.start for side in box]
        return voxels * np.asarray(spacing_mm)

    tree = cKDTree(np.concatenate([surface(number) for number in found.kidneys]))
    for number in np.flatnonzero(~np.isfinite(distances)):
        distances[number] = tree.query(surface(int(number)))[0].min()
