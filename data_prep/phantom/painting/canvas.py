"""A volume that tissues are painted into, with soft edges and smooth random fields."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from data_prep.geometry.types import Box, triple

# the index of a tissue is its value in `Canvas.tissue`
TISSUES = (
    "air", "skin", "fat", "muscle", "bone", "disc", "liver", "spleen", "stomach", "bowel", "gas", "gallbladder",
    "pancreas", "aorta", "vein", "cortex", "medulla", "sinus", "pelvis", "cyst", "tumor", "necrosis", "table",
    "lung", "heart", "bladder",
)  # fmt: skip
Point = Sequence[float] | np.ndarray  # x, y, z in mm
EVERYWHERE: Box = (slice(None), slice(None), slice(None))


def coverage(level: np.ndarray) -> np.ndarray:
    """Return the share (0..1) of each voxel that lies inside the shape `level < 0`.

    The level is any function that is smooth near its zero. To first order the surface inside a voxel is a plane at
    level / |gradient|_1 voxels from its center, for which the share is a ramp: the partial volume effect, for any voxel
    shape. Every axis needs at least two voxels.
    """
    slope = sum(np.abs(part) for part in np.gradient(level))
    return np.clip(0.5 - level / np.maximum(slope, 1e-6), 0.0, 1.0)


def path_distance_mm(x: np.ndarray, y: np.ndarray, z: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
    """Return the distance of the places x, y, z (mm, broadcast) from the path through the points [n, 3]."""
    nearest = np.float32(np.inf)
    for start, end in pairwise(points_mm):
        dx, dy, dz = x - start[0], y - start[1], z - start[2]
        along = end - start
        at = np.clip((dx * along[0] + dy * along[1] + dz * along[2]) / float(along @ along), 0.0, 1.0)
        square = (dx - at * along[0]) ** 2 + (dy - at * along[1]) ** 2 + (dz - at * along[2]) ** 2
        nearest = np.minimum(nearest, square)
    return np.sqrt(nearest)


class Canvas:
    """HU and tissues being painted, with warped coordinates so that no two patients share an outline.

    `x`, `y`, `z` (arrays [z, y, x]) are mm to the left, the back and the head from `origin_mm` (x, y, z from the middle
    of the field of view), moved by a smooth random field of `warp_mm` standard deviation. `room` is the share of each
    voxel that is left for kidneys and tumors. Random fields have knots in mm, so that their grain is independent of the
    voxels.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        shape_zyx: Sequence[int],
        spacing_mm: Sequence[float],
        warp_mm: float,
        origin_mm: Point = (0.0, 0.0, 0.0),
    ):
        self.rng = rng
        self.shape_zyx = tuple(shape_zyx)
        self.spacing_mm = tuple(spacing_mm)
        self.axes_mm = [
            ((np.arange(n) - (n - 1) / 2) * mm - origin).astype(np.float32)
            for n, mm, origin in zip(shape_zyx, spacing_mm, origin_mm[::-1], strict=True)
        ]
        z, y, x = self.axes_mm
        self.z = z[:, None, None] + warp_mm * self.smooth_field(45.0)
        self.y = y[None, :, None] + warp_mm * self.smooth_field(45.0)
        self.x = x[None, None, :] + warp_mm * self.smooth_field(45.0)
        self.margin_mm = 4.0 * warp_mm
        self.hu = np.full(self.shape_zyx, -1000.0, np.float32)
        self.tissue = np.zeros(self.shape_zyx, np.uint8)
        self.room = np.ones(self.shape_zyx, np.float32)

    def smooth_field(self, knot_mm: float, box: Box = EVERYWHERE) -> np.ndarray:
        """Return a random field in `box`, mean 0, standard deviation about 1, smooth over about `knot_mm`."""
        weights = []
        for axis_mm, part in zip(self.axes_mm, box, strict=True):
            axis_mm = axis_mm[part]
            knots = np.arange(axis_mm[0] - 1.5 * knot_mm, axis_mm[-1] + 2.5 * knot_mm, knot_mm, dtype=np.float32)
            bell = np.exp(-0.5 * ((axis_mm[:, None] - knots) / (0.7 * knot_mm)) ** 2)
            # unit variance at every voxel, since the knots' values are independent with variance 1
            weights.append(bell / np.sqrt((bell**2).sum(axis=1, keepdims=True)))
        knots_zyx = self.rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
        # einsum instead of BLAS, whose threads are ten times slower on a busy processor, and whose sums depend on their
        # number; z last, because it has the fewest knots and the last product is the largest
        field = np.einsum("zyk,xk->zyx", knots_zyx, weights[2])
        field = np.einsum("zkx,yk->zyx", field, weights[1])
        return np.einsum("kyx,zk->zyx", field, weights[0])

    def box(self, center_mm: Point, reach_mm: Point | float) -> Box:
        """Return the part of the grid within `reach_mm` of `center_mm` (x, y, z) and the warp; at least 2 voxels."""
        reach = np.broadcast_to(np.asarray(reach_mm, float), 3)[::-1]
        parts = []
        for axis_mm, middle, half, mm in zip(self.axes_mm, center_mm[::-1], reach, self.spacing_mm, strict=True):
            first, last = np.searchsorted(
                axis_mm, [middle - half - self.margin_mm - mm, middle + half + self.margin_mm + mm]
            )
            first = min(first, len(axis_mm) - 2)
            parts.append(slice(int(first), int(max(last, first + 2))))
        return triple(parts)

    def offsets(self, center_mm: Point, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, y, z minus the center, within the box."""
        return self.x[box] - center_mm[0], self.y[box] - center_mm[1], self.z[box] - center_mm[2]

    def paint(self, name: str, share: np.ndarray, hu: np.ndarray | float, box: Box = EVERYWHERE) -> None:
        """Mix `hu` into the box by `share`; `name` becomes the tissue of voxels covered by half or more."""
        under = self.hu[box]
        under += share * (hu - under)
        self.tissue[box][share >= 0.5] = TISSUES.index(name)

    def take_room(self, share: np.ndarray, box: Box = EVERYWHERE) -> None:
        """Keep what is painted later with `room` out of these voxels."""
        self.room[box] *= 1.0 - share

    def fill(self, name: str, shape: tuple[Box, np.ndarray], hu: float, inside: np.ndarray | None = None) -> None:
        """Paint a shape (box, level), as `ellipsoid` and `tube` give it, into `inside`; None for `room`."""
        box, level = shape
        self.paint(name, coverage(level) * (self.room if inside is None else inside)[box], hu, box)

    def ellipsoid(self, center_mm: Point, radii_mm: Point) -> tuple[Box, np.ndarray]:
        """Return the box and, in it, the level (-1 at the center, 0 on the surface) of an ellipsoid along the axes."""
        box = self.box(center_mm, radii_mm)
        dx, dy, dz = self.offsets(center_mm, box)
        a, b, c = radii_mm
        return box, np.sqrt((dx / a) ** 2 + (dy / b) ** 2 + (dz / c) ** 2) - 1.0

    def tube(self, points_mm: Sequence[Point] | np.ndarray, radius_mm: float) -> tuple[Box, np.ndarray]:
        """Return the box and the level (mm) of a tube of constant radius through the points."""
        points = np.asarray(points_mm, np.float32)
        low, high = points.min(axis=0), points.max(axis=0)
        box = self.box((low + high) / 2, (high - low) / 2 + radius_mm)
        return box, path_distance_mm(self.x[box], self.y[box], self.z[box], points) - radius_mm

    def column(self, center_mm: Sequence[float | np.ndarray], radii_mm: Sequence[float | np.ndarray]) -> np.ndarray:
        """Return the level, everywhere, of an elliptic column along z; radii may be arrays over the grid."""
        return np.hypot((self.x - center_mm[0]) / radii_mm[0], (self.y - center_mm[1]) / radii_mm[1]) - 1.0
