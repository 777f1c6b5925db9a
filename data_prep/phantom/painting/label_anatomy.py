"""Find the kidneys of a real label map and a place for the spine between them, and remove a healthy kidney.

Places are x, y, z in mm (to the left, the back, the head) from the middle of the label map's field.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_prep.geometry.components import bounding_box, connected
from data_prep.geometry.types import Box
from data_prep.labels import KIDNEY, TUMOR
from data_prep.phantom.painting.body_size import Build
from data_prep.phantom.painting.torso import WALL_MM

KIDNEY_ML = 10.0  # smaller objects are specks, not kidneys


@dataclass(frozen=True)
class LabelledKidney:
    """A connected object of a label map: one kidney with its tumors, or two fused ones.

    box, mask: its voxels. center_mm: of its voxels labelled kidney.
    """

    box: Box
    mask: np.ndarray
    center_mm: np.ndarray
    tumor_ml: float


def axes_mm(shape_zyx: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> list[np.ndarray]:
    """Return the voxels' places along z, y and x from the middle of the field."""
    return [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape_zyx, spacing_mm, strict=True)]


def find_labelled_kidneys(labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> list[LabelledKidney]:
    """Return the up to two largest 26-connected objects with at least `KIDNEY_ML`, the patient's right one first.

    labels: uint8 [z, y, x]. Empty if no object is that large.
    """
    box = bounding_box(labels)
    if box is None:
        return []
    inside = labels[box]
    places = [axis[part] for axis, part in zip(axes_mm(labels.shape, spacing_mm), box, strict=True)]
    objects, _ = connected(inside > 0)
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    sizes = np.bincount(objects.ravel()) * voxel_ml
    found = []
    for number in 1 + np.argsort(-sizes[1:])[:2]:
        mask = objects == number
        kidney = mask & (inside == KIDNEY)
        if sizes[number] >= KIDNEY_ML and kidney.any():
            tumor_ml = float(np.count_nonzero(inside[mask] == TUMOR) * voxel_ml)
            found.append(LabelledKidney(box, mask, _center_mm(kidney, places), tumor_ml))
    return sorted(found, key=lambda kidney: kidney.center_mm[0])


def _center_mm(mask: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    # from the sums over planes: coordinates of every voxel would take gigabytes
    center = []
    for axis in (2, 1, 0):
        weight = np.count_nonzero(mask, axis=tuple({0, 1, 2} - {axis}))
        center.append(float(weight @ places[axis][: len(weight)] / weight.sum()))
    return np.array(center)


def shadow_mm(labels: np.ndarray, spacing_mm: tuple[float, float, float], step_mm: float = 2.0) -> np.ndarray:
    """Return all labels projected along z: float [n, 3] of x, y and their length (mm) along z, `step_mm` apart."""
    by_y, by_x = (max(1, round(step_mm / mm)) for mm in spacing_mm[1:])
    _, y, x = axes_mm(labels.shape, spacing_mm)
    length = np.count_nonzero(labels[:, ::by_y, ::by_x], axis=0) * spacing_mm[0]
    rows, columns = np.nonzero(length)
    return np.stack([x[::by_x][columns], y[::by_y][rows], length[rows, columns]], axis=1)


def find_spine(shadow: np.ndarray, kidneys: list[LabelledKidney]) -> tuple[float, float]:
    """Return x and y of the middle of the vertebral kidneys: near the middle of the kidneys, out of all labels.

    One kidney says nothing of the midline: then it is that of the field.
    """
    two = len(kidneys) == 2
    middle = 0.8 * float(np.mean([kidney.center_mm[0] for kidney in kidneys])) if two else 0.0
    level = float(np.mean([kidney.center_mm[1] for kidney in kidneys])) - 4.0
    best, least = (middle, level), np.inf
    for x in middle + np.arange(-40.0, 41.0, 4.0):
        for y in level + np.arange(-32.0, 45.0, 4.0):
            dx, dy = shadow[:, 0] - x, shadow[:, 1] - y
            bone = (dx / 27.0) ** 2 + (dy / 21.0) ** 2 < 1
            bone |= (dx / 19.0) ** 2 + ((dy - 25.0) / 18.0) ** 2 < 1
            bone |= dy > 44.0  # the muscles and the skin of the back
            cost = shadow[bone, 2].sum() * 0.004 + ((x - middle) / 12.0) ** 2 + ((y - level) / 9.0) ** 2
            if cost < least:
                best, least = (float(x), float(y)), cost
    return best


def fit_build(
    rng: np.random.Generator, build: Build, shadow: np.ndarray, spine_mm: tuple[float, float], field_mm: float
) -> Build:
    """Return the patient as wide as the field of view suggests, or wider until the labels lie within the body wall."""
    ratio = build.half_depth_mm / build.half_width_mm
    width = float(np.clip(field_mm * rng.uniform(0.40, 0.49), 150.0, 225.0))
    while True:
        fat = float(np.clip(build.fat_mm + 0.42 * (width - build.half_width_mm), 5.0, 34.0))
        fitted = replace(build, half_width_mm=width, half_depth_mm=ratio * width, fat_mm=fat)
        x, y = shadow[:, 0] - spine_mm[0], shadow[:, 1] - spine_mm[1] + fitted.spine_y_mm
        depth = np.where(y > 0, 0.88 * fitted.half_depth_mm - 0.35 * fat, fitted.half_depth_mm - 0.8 * fat) - WALL_MM
        out = np.abs(x / (width - fat - WALL_MM)) ** 2.2 + np.abs(y / depth) ** 2.2 > 1
        if shadow[out, 2].sum() <= 0.01 * shadow[:, 2].sum() or width >= 240.0:
            return fitted
        width += 4.0


def without_healthy_kidney(labels: np.ndarray, kidneys: list[LabelledKidney]) -> np.ndarray | None:
    """Return the labels without the kidney that has no tumor; None unless exactly one of two kidneys has none."""
    healthy = [kidney for kidney in kidneys if kidney.tumor_ml == 0]
    if len(kidneys) != 2 or len(healthy) != 1:
        return None
    changed = labels.copy()
    changed[healthy[0].box][healthy[0].mask] = 0
    return changed
