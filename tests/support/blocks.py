"""Label maps of blocks and balls, for tests of the post-processing."""

from __future__ import annotations

import numpy as np

MM = (1.0, 1.0, 1.0)


def blank(shape: tuple[int, int, int] = (80, 70, 150)) -> np.ndarray:
    """Return an empty label map."""
    return np.zeros(shape, np.uint8)


def block(labels: np.ndarray, z, y, x, value: int = 1) -> np.ndarray:
    """Fill labels[z0:z1, y0:y1, x0:x1]; at 1 mm a block of 30 x 30 x 30 has 27 mL, enough for a kidney."""
    labels[slice(*z), slice(*y), slice(*x)] = value
    return labels


def two_kidneys() -> np.ndarray:
    """Return two kidneys of 27 mL, at x 10..39 and 110..139, z 5..34."""
    return block(block(blank(), (5, 35), (20, 50), (10, 40)), (5, 35), (20, 50), (110, 140))


def ball(shape, spacing, center, radius) -> np.ndarray:
    """Return the mask of a ball; center (z, y, x) and radius in mm from the first voxel."""
    axes = np.meshgrid(*[np.arange(n) * mm for n, mm in zip(shape, spacing, strict=True)], indexing="ij")
    return sum((axis - c) ** 2 for axis, c in zip(axes, center, strict=True)) < radius**2
