"""The paper's rule against noise: objects far from both kidneys go. In millimeters and milliliters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.errors import InputError
from kidney_seg.postprocess.kidneys import TOLERANCE, Bodies, distances_mm, find_bodies

DISTANCE_MM = 20.0  # of the true labels of 210 patients .01 mL lies farther than this from the kidneys
KIDNEY_ML = 20.0  # the smallest true second kidney of 210 patients has 42.7 mL, the largest third object .89 mL


@dataclass(frozen=True)
class Component:
    """One object of a label map: voxels with label > 0 that touch by face, edge or corner (26-connected)."""

    id: int  # 1 for the largest, and so on
    role: str  # "kidney", "kept" (near a kidney, or there is none to measure from) or "removed"
    volume_ml: float  # kidney and tumor together
    tumor_ml: float  # of it, voxels with label 2
    distance_mm: float  # to the nearest kidney, surface to surface; 0 for kidneys, nan if there is no kidney


def remove_distant_objects(
    labels: np.ndarray,
    spacing_mm: Sequence[float],
    distance_mm: float = DISTANCE_MM,
    kidney_ml: float = KIDNEY_ML,
) -> np.ndarray:
    """Return the labels without the objects that lie farther than `distance_mm` from the kidneys.

    `labels`: integers [z, y, x], 0 is background, all else is one tissue; `spacing_mm`: of its three axes.
    The kidneys are the two largest 26-connected objects among those of at least `kidney_ml` (all of them
    where equal sizes leave no second largest; one where no other is that large). Every other object stays
    if its distance to the kidneys is at most `distance_mm`: surface to surface, that is from voxel center to
    voxel center where the two come nearest (never from centroid to centroid: a tumor of a liter lies 10 cm
    off by that). Where no object has `kidney_ml` the labels stay as they are: the rule never empties a map. Nor is
    anything removed from a single slice, which tells no volume: a section of the second kidney can have less there.

    It only removes, kept voxels keep their labels, twice is the same as once, and the input is not changed.
    What it cannot mend: bowel or spleen larger than a kidney passes for a kidney (see `find_objects`).
    ValueError for anything but three axes and three positive spacings.

    Source: the paper, section 1 ("finds the two kidneys including tumors ... If the distances between the
    small objects and the two kidneys are larger than a threshold ... they will be removed"). The paper gives
    no numbers; the defaults are measured on the KiTS19 labels.
    """
    return _apply(labels, spacing_mm, distance_mm, kidney_ml, beyond=False)[0]


def find_objects(
    labels: np.ndarray,
    spacing_mm: Sequence[float],
    distance_mm: float = DISTANCE_MM,
    kidney_ml: float = KIDNEY_ML,
) -> list[Component]:
    """Return the objects of a label map, largest first, with what `remove_distant_objects` makes of each.

    Empty for an empty map. Arguments and errors as there.
    """
    return apply_rule(labels, spacing_mm, distance_mm, kidney_ml)[1]


def apply_rule(
    labels: np.ndarray,
    spacing_mm: Sequence[float],
    distance_mm: float = DISTANCE_MM,
    kidney_ml: float = KIDNEY_ML,
) -> tuple[np.ndarray, list[Component]]:
    """Return (`remove_distant_objects`, `find_objects`) of a label map, at the price of the latter."""
    result, bodies, distances, removed = _apply(labels, spacing_mm, distance_mm, kidney_ml, beyond=True)
    if bodies is None:
        return result, []
    tumor_voxels = np.bincount(bodies.ids[np.asarray(labels)[bodies.box] == 2], minlength=bodies.voxels.size)
    roles = np.where(bodies.is_kidney, "kidney", np.where(removed, "removed", "kept"))
    report = [
        Component(
            id=rank,
            role=str(roles[index]),
            volume_ml=float(bodies.voxels[index] * bodies.voxel_ml),
            tumor_ml=float(tumor_voxels[index] * bodies.voxel_ml),
            distance_mm=float(distances[index]),
        )
        for rank, index in enumerate(bodies.order, start=1)
    ]
    return result, report


def _apply(
    labels: np.ndarray, spacing_mm: Sequence[float], distance_mm: float, kidney_ml: float, beyond: bool
) -> tuple[np.ndarray, Bodies | None, np.ndarray, np.ndarray]:
    """Return the cleaned labels; the objects of the given ones, None without any; their distances; the removed ones."""
    labels, spacing = np.asarray(labels), tuple(float(mm) for mm in spacing_mm)
    if labels.ndim != 3 or labels.dtype.kind not in "iub":
        raise ValueError(f"labels must be integers [z, y, x], found {labels.dtype} of shape {labels.shape}")
    if len(spacing) != 3 or not all(0 < mm < math.inf for mm in spacing):
        raise ValueError(f"spacing_mm must be three positive numbers, found {spacing_mm}")
    if not (distance_mm >= 0 and kidney_ml >= 0):
        raise ValueError(f"limits must be 0 or more, found {distance_mm} mm and {kidney_ml} mL")

    result = labels.copy()
    bodies = find_bodies(labels, spacing, kidney_ml)
    if bodies is None:
        return result, None, np.zeros(1), np.zeros(1, bool)
    distances = distances_mm(bodies, spacing, distance_mm, beyond)
    removed = distances > distance_mm * (1 + TOLERANCE)  # false for NaN: nothing to measure from
    if 1 in labels.shape:
        removed[:] = False
    for number in np.flatnonzero(removed):
        box = bodies.boxes[number]
        result[bodies.box][box][bodies.ids[box] == number] = 0
    return result, bodies, distances, removed


def format_objects(objects: Sequence[Component], distance_mm: float, kidney_ml: float, most: int = 12) -> str:
    """Return the objects as a table for the screen, the largest `most`, with notes on odd findings."""
    lines = ["object       mL  tumor mL  distance mm  what"]
    for item in objects[:most]:
        far = "-" if item.role == "kidney" or math.isnan(item.distance_mm) else f"{item.distance_mm:.1f}"
        lines.append(f"{item.id:6d} {item.volume_ml:8.2f}  {item.tumor_ml:8.2f}  {far:>11}  {item.role}")
    rest = objects[most:]
    gone = [item for item in objects if item.role == "removed"]
    if rest:
        lines.append(f"... and {len(rest)} smaller, {sum(item.role == 'removed' for item in rest)} of them removed")
    lines.append(f"{len(gone)} of {len(objects)} objects removed, {sum(item.volume_ml for item in gone):.2f} mL")
    if not any(item.role == "kidney" for item in objects):
        lines.append(f"note: no object has {kidney_ml:g} mL, so there is no kidney to measure from: nothing removed")
    if any(item.role != "kidney" and item.volume_ml >= kidney_ml for item in objects):
        lines.append(f"note: more than two objects have {kidney_ml:g} mL; another organ may pass for a kidney")
    return "\n".join(lines)


def check_limits(distance_mm: float, kidney_ml: float) -> None:
    """Raise InputError where a command was given limits that are negative or not a number."""
    for name, value in (("--distance-mm", distance_mm), ("--kidney-ml", kidney_ml)):
        if not value >= 0:
            raise InputError(f"{name}: found {value:g}, expected a number of 0 or more")
