"""Find the objects of a label map, and the kidneys among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.geometry.components import bounding_box, connected_objects
from data_prep.geometry.types import Box
from data_prep.labels import TUMOR
from kidney_seg.config.prediction import ANCHORED, PAPER

TOLERANCE = 1e-6  # of a limit, relative: rounding in single precision must not decide
REMNANT_ML = 5.0  # least kidney beside a tumor that has replaced its kidney; in 126 KiTS19 maps the least is 42.7 mL


@dataclass(frozen=True)
class Components:
    """The 26-connected objects of a label map, by number; 0 is background.

    box: part of the map [z, y, x] that holds all objects; ids: their numbers in it; voxels: int64 [n + 1]; boxes: part
    of `ids` that holds each object; is_kidney: bool [n + 1].
    """

    box: Box
    ids: np.ndarray
    voxels: np.ndarray
    boxes: list[Box]
    is_kidney: np.ndarray
    voxel_ml: float

    @property
    def order(self) -> np.ndarray:
        """The numbers, largest object first."""
        return 1 + np.argsort(-self.voxels[1:], kind="stable")

    @property
    def kidneys(self) -> list[int]:
        """The numbers of the kidneys, largest first."""
        return [int(number) for number in self.order if self.is_kidney[number]]


def find_kidneys(
    labels: np.ndarray, spacing_mm: Sequence[float], kidney_ml: float, rule: str = PAPER
) -> Components | None:
    """Return the objects of integers [z, y, x] with the kidneys among them; None for an empty map.

    `paper`: the kidneys are the two largest objects of at least `kidney_ml`, kidney and tumor together. `anchored`: the
    two objects with most kidney in them (labels other than tumor), at least `kidney_ml`, so that an organ called tumor
    is none, whatever its size. If fewer have that much, objects of at least `kidney_ml` that hold `REMNANT_ML` of
    kidney follow: a tumor has replaced the rest. Fewer than two if no other object qualifies, more if equal sizes leave
    no second largest.
    """
    box = bounding_box(labels > 0)
    if box is None:
        return None
    ids, voxels, boxes = connected_objects(labels[box] > 0)
    voxel_ml = math.prod(sorted(spacing_mm)) / 1000.0  # sorted: the same product for every order of the axes
    least = kidney_ml * (1 - TOLERANCE) / voxel_ml
    if rule != ANCHORED:
        return Components(box, ids, voxels, boxes, _largest(voxels, voxels >= least, 2), voxel_ml)
    of_kidney = voxels - tumor_voxels(labels, box, ids, voxels.size)
    is_kidney = _largest(of_kidney, of_kidney >= least, 2)
    replaced = ~is_kidney & (voxels >= least) & (of_kidney >= REMNANT_ML * (1 - TOLERANCE) / voxel_ml)
    is_kidney |= _largest(of_kidney, replaced, 2 - int(np.count_nonzero(is_kidney)))
    return Components(box, ids, voxels, boxes, is_kidney, voxel_ml)


def tumor_voxels(labels: np.ndarray, box: Box, ids: np.ndarray, count: int) -> np.ndarray:
    """Return the number of tumor voxels of each object, int64 [count]; number 0 has none."""
    return np.bincount(ids[np.asarray(labels)[box] == TUMOR], minlength=count)


def _largest(amounts: np.ndarray, eligible: np.ndarray, most: int) -> np.ndarray:
    """Return the `most` largest of the eligible objects, and those that equal the last; bool, never number 0."""
    eligible = eligible & (np.arange(eligible.size) > 0)
    if most <= 0:
        return np.zeros_like(eligible)
    if np.count_nonzero(eligible) > most:
        eligible &= amounts >= np.sort(amounts[eligible])[-most]
    return eligible
