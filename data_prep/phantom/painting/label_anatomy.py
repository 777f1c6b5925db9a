"""Where the kidneys of a real label map lie, where a spine fits between them, and label maps with other kidneys.

Places are millimeters x, y, z (to the left, the back, the head) from the middle of the label map's field.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_prep.geometry.components import bounding_box, connected
from data_prep.geometry.types import Box
from data_prep.phantom.painting.canvas import path_distance_mm
from data_prep.phantom.painting.habitus import Build
from data_prep.phantom.painting.horseshoe import RADIUS_MM, isthmus_path_mm
from data_prep.phantom.painting.torso import WALL_MM

KIDNEY_ML = 10.0  # less is a speck, not a kidney
POLE_MM = 8.0  # of a kidney's length that count as its lower pole


@dataclass(frozen=True)
class Body:
    """One kidney with its tumors, or two that are fused: a connected object of a label map.

    box, mask: its voxels. center_mm, pole_mm: middle and lower pole of what is labelled kidney in it.
    """

    box: Box
    mask: np.ndarray
    center_mm: np.ndarray
    pole_mm: np.ndarray
    tumor_ml: float


def axes_mm(shape_zyx: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> list[np.ndarray]:
    """Return the voxels' places along z, y and x from the middle of the field."""
    return [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape_zyx, spacing_mm, strict=True)]


def find_bodies(labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> list[Body]:
    """Return the up to two largest 26-connected objects of labels > 0 with `KIDNEY_ML`, the patient's right first.

    labels: uint8 [z, y, x]. None of that size: no bodies.
    """
    box = bounding_box(labels)
    if box is None:
        return []
    inside = labels[box]
    places = [axis[part] for axis, part in zip(axes_mm(labels.shape, spacing_mm), box, strict=True)]
    objects, _ = connected(inside > 0)
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    sizes = np.bincount(objects.ravel()) * voxel_ml
    bodies = []
    for number in 1 + np.argsort(-sizes[1:])[:2]:
        mask = objects == number
        kidney = mask & (inside == 1)
        if sizes[number] < KIDNEY_ML or not kidney.any():
            continue
        along_z = np.flatnonzero(kidney.any(axis=(1, 2)))
        lowest = places[0] <= places[0][along_z[0]] + POLE_MM
        tumor_ml = float(np.count_nonzero(inside[mask] == 2) * voxel_ml)
        bodies.append(Body(box, mask, _center_mm(kidney, places), _center_mm(kidney[lowest], places), tumor_ml))
    return sorted(bodies, key=lambda body: body.center_mm[0])


def _center_mm(mask: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    # from the sums over planes: coordinates of every voxel would take gigabytes
    center = []
    for axis in (2, 1, 0):
        weight = np.count_nonzero(mask, axis=tuple({0, 1, 2} - {axis}))
        center.append(float(weight @ places[axis][: len(weight)] / weight.sum()))
    return np.array(center)


def shadow_mm(labels: np.ndarray, spacing_mm: tuple[float, float, float], step_mm: float = 2.0) -> np.ndarray:
    """Return all labels as seen from above: float [n, 3] of x, y and their length (mm) along z, `step_mm` apart."""
    by_y, by_x = (max(1, round(step_mm / mm)) for mm in spacing_mm[1:])
    _, y, x = axes_mm(labels.shape, spacing_mm)
    length = np.count_nonzero(labels[:, ::by_y, ::by_x], axis=0) * spacing_mm[0]
    rows, columns = np.nonzero(length)
    return np.stack([x[::by_x][columns], y[::by_y][rows], length[rows, columns]], axis=1)


def find_spine(shadow: np.ndarray, bodies: list[Body]) -> tuple[float, float]:
    """Return x and y of the middle of the vertebral bodies: near the middle of the kidneys, out of all labels.

    One kidney says nothing of the midline: then it is that of the field.
    """
    two = len(bodies) == 2
    middle = 0.8 * float(np.mean([body.center_mm[0] for body in bodies])) if two else 0.0
    level = float(np.mean([body.center_mm[1] for body in bodies])) - 4.0
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
    """Return the patient as wide as the field of view suggests, or wider, until the labels lie within the wall."""
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


def without_healthy_kidney(labels: np.ndarray, bodies: list[Body]) -> np.ndarray | None:
    """Return the labels less the kidney that has no tumor; None where there is not one of each."""
    healthy = [body for body in bodies if body.tumor_ml == 0]
    if len(bodies) != 2 or len(healthy) != 1:
        return None
    changed = labels.copy()
    changed[healthy[0].box][healthy[0].mask] = 0
    return changed


def with_isthmus(
    labels: np.ndarray,
    spacing_mm: tuple[float, float, float],
    bodies: list[Body],
    spine_mm: tuple[float, float],
    rng: np.random.Generator,
) -> np.ndarray | None:
    """Return the labels with both lower poles joined by kidney; None where no two kidneys lie beside the spine."""
    if len(bodies) != 2 or not bodies[0].center_mm[0] < spine_mm[0] < bodies[1].center_mm[0]:
        return None
    path = isthmus_path_mm(bodies[0].pole_mm, bodies[1].pole_mm, spine_mm)
    radius = float(rng.uniform(*RADIUS_MM))
    places = axes_mm(labels.shape, spacing_mm)
    box = tuple(
        slice(*np.searchsorted(axis, [path[:, 2 - k].min() - radius, path[:, 2 - k].max() + radius]))
        for k, axis in enumerate(places)
    )
    z, y, x = np.ix_(*(axis[part].astype(np.float32) for axis, part in zip(places, box, strict=True)))
    changed = labels.copy()
    part = changed[box]
    part[(path_distance_mm(x, y, z, path) < radius) & (part == 0)] = 1
    return changed
