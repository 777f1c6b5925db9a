"""The served pipeline, written once for TensorFlow and ONNX: checks of a request, raw HU slices to labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data_prep.geometry.network_grid import GridSettings, network_pixel_mm
from data_prep.geometry.resampling import (
    Array,
    ArrayOps,
    Weights,
    most_probable,
    resample,
    resample_hu,
    resampling_weights,
    share_outside,
)
from data_prep.labels import CLASS_NAMES
from kidney_seg.export import contract

_LIMITS = f"at most {contract.MAX_EDGE} rows and columns and {contract.MAX_VOXELS} pixels in all: send fewer at a time"


class Check(NamedTuple):
    """A condition of a request: what is expected, whether it holds (a scalar), and what came instead."""

    expected: str
    valid: Array
    found: Array


def size_checks(shape: Array, xp: ArrayOps) -> list[Check]:
    """Return the checks of the shape of `slices`, int64 [3]."""
    batch, height, width = (xp.take(shape, axis, 0) for axis in range(3))
    edges = (height <= contract.MAX_EDGE) & (width <= contract.MAX_EDGE)
    return [
        Check("slices: expected at least one slice of at least one pixel", xp.all(shape > 0), shape),
        Check(f"slices: expected {_LIMITS}", edges & (batch * height * width <= contract.MAX_VOXELS), shape),
    ]


def request_checks(slices: Array, spacing_mm: Array, xp: ArrayOps) -> list[Check]:
    """Return the checks of a request, in the order in which they are made; the last one reads the pixels."""
    shape, found = xp.shape(slices), xp.shape(spacing_mm)
    low, high = contract.SPACING_MM
    pair = xp.equal(xp.take(found, 0, 0), xp.take(shape, 0, 0)) & xp.equal(xp.take(found, 1, 0), 2)
    range_mm = xp.all((spacing_mm >= low) & (spacing_mm <= high))  # false also for NaN
    largest = float(np.finfo(np.float32).max)
    return [
        *size_checks(shape, xp),
        Check("spacing_mm: expected (row, column) for every slice, shape [batch, 2]", pair, found),
        Check(f"spacing_mm: expected {low} to {high} mm", range_mm, spacing_mm),
        Check("slices: NaN or infinity found, expected HU", xp.all((slices >= -largest) & (slices <= largest)), shape),
    ]


def network_slices(slices: Array, spacing_mm: Array, grid: GridSettings, xp: ArrayOps) -> Array:
    """Return whole HU on the network's grid: float32 [batch, y, x], float64 [batch, 2] -> [batch, size, size]."""
    rows, columns = _weights(slices, spacing_mm, grid, xp)
    return xp.take(resample_hu(xp.expand_dims(slices, -1), rows, columns, xp), 0, -1)


def source_classes(prob: Array, slices: Array, spacing_mm: Array, grid: GridSettings, xp: ArrayOps) -> list[Array]:
    """Return the probability of each class on the pixels of the slices, float32 [batch, y, x].

    prob: float32 [batch, size, size, classes]. Outside the network's field the background has 1.
    """
    rows, columns = _weights(slices, spacing_mm, grid, xp, back=True)
    made = resample(prob, rows, columns, xp)
    background, *others = (xp.take(made, number, -1) for number in range(len(CLASS_NAMES)))
    ones = xp.take(xp.take(prob, [0], 2), [0], 3) * 0.0 + 1.0
    return [background + share_outside(ones, rows, columns, xp), *others]


def segment(
    slices: Array, spacing_mm: Array, network: Callable[[Array], Array], grid: GridSettings, xp: ArrayOps
) -> dict[str, Array]:
    """Return the outputs of `serving_default` for whole HU, float32 [batch, y, x].

    network: from HU [batch, size, size] to probabilities [batch, size, size, classes].
    """
    prob = network(network_slices(slices, spacing_mm, grid, xp))
    classes = source_classes(prob, slices, spacing_mm, grid, xp)
    _, kidney, tumor = classes
    return {"labels": most_probable(classes, xp), "kidney_probability": kidney, "tumor_probability": tumor}


def _weights(slices: Array, spacing_mm: Array, grid: GridSettings, xp: ArrayOps, back: bool = False) -> list[Weights]:
    edges = [xp.take(xp.shape(slices), axis, 0) for axis in (1, 2)]
    spacings = [xp.take(spacing_mm, axis, 1) for axis in (0, 1)]
    mm = network_pixel_mm(edges, spacings, grid, xp)
    return [
        resampling_weights(grid.size, mm, n, one, xp) if back else resampling_weights(n, one, grid.size, mm, xp)
        for n, one in zip(edges, spacings, strict=True)
    ]
