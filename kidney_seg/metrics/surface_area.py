"""Areas of the surface pieces between voxels, by which of the eight voxels around a corner are filled.

The surface of a mask passes between its voxel centers. Every corner where eight voxels meet, some in the mask and some
not, carries one piece of it ("surfel"): the marching-cubes polygons through the midpoints of the edges from filled to
empty voxel centers. DeepMind's surface-distance, and with it KiTS21 and KiTS23, weight distances by this surface; here
its areas are computed from geometry.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from data_prep.geometry.types import triple

Point = tuple[float, float, float]
Triangle = tuple[Point, Point, Point]

CORNERS = tuple(itertools.product((0, 1), repeat=3))  # (z, y, x) of the eight voxel centers, by bit of the code
FULL = 255


def surfel_areas_mm2(spacing_mm: Sequence[float]) -> np.ndarray:
    """Return the area in mm2 of the surfel of each of the 256 codes: float64 [256], 0 for codes 0 and 255.

    Bit n of a code is set if the voxel `CORNERS[n]` of the 2 x 2 x 2 is filled; `spacing_mm` is (z, y, x).

    >>> surfel_areas_mm2((1.0, 1.0, 1.0))[0b1111]
    np.float64(1.0)
    """
    z, y, x = (float(mm) for mm in spacing_mm)
    normals, codes = _normals()
    areas = np.linalg.norm(normals * (y * x, z * x, z * y), axis=1)
    return np.bincount(codes, weights=areas, minlength=FULL + 1)


@lru_cache(maxsize=1)
def _normals() -> tuple[np.ndarray, np.ndarray]:
    """Return area vectors on cubic voxels of side 1, float64 [n, 3], and the code each belongs to, int [n]."""
    normals, codes = [], []
    for code in range(FULL + 1):
        for triangle in _triangles(code):
            normals.append(_area_vector(triangle))
            codes.append(code)
    return np.array(normals), np.array(codes)


def _triangles(code: int) -> list[Triangle]:
    # A mask and its complement share their surface. If diagonal voxels of a face are filled, the fewer of the eight
    # are separated.
    if code.bit_count() > 4:
        code = FULL - code
    return [triangle for loop in _loops(code) for triangle in _largest(loop)]


def _loops(code: int) -> list[list[Point]]:
    """Return the closed polygons of a code; their corners are midpoints of edges between filled and empty."""
    filled = {corner for bit, corner in enumerate(CORNERS) if code >> bit & 1}
    links: dict[Point, list[Point]] = {}
    for axis, side in itertools.product(range(3), (0, 1)):
        around = [(*ab[:axis], side, *ab[axis:]) for ab in ((0, 0), (0, 1), (1, 1), (1, 0))]
        middles = [_middle(around[place], around[(place + 1) % 4]) for place in range(4)]
        inside = [corner in filled for corner in around]
        crossed = [place for place in range(4) if inside[place] != inside[(place + 1) % 4]]
        pairs = [(crossed[0], crossed[1])] if len(crossed) == 2 else []
        if len(crossed) == 4:  # each filled corner is cut off separately
            pairs = [(place - 1, place) for place in range(4) if inside[place]]
        for one, other in pairs:
            links.setdefault(middles[one], []).append(middles[other])
            links.setdefault(middles[other], []).append(middles[one])
    loops, left = [], set(links)
    while left:
        loop = [min(left)]
        while loop[-1] in left:
            left.remove(loop[-1])
            loop += [point for point in links[loop[-1]] if point in left][:1]
        loops.append(loop)
    return loops


def _largest(loop: Sequence[Point]) -> list[Triangle]:
    """Return the division of a polygon into triangles with the largest area on cubic voxels, as the reference does.

    Divisions that tie, such as the two of a flat quadrangle, have the same area at any spacing.
    """
    return max(_divisions(loop), key=lambda division: round(sum(_area(one) for one in division), 9))


def _divisions(loop: Sequence[Point]) -> Iterator[list[Triangle]]:
    if len(loop) < 3:
        yield []
        return
    for place in range(1, len(loop) - 1):
        for before in _divisions(loop[: place + 1]):
            for after in _divisions(loop[place:]):
                yield [*before, (loop[0], loop[place], loop[-1]), *after]


def _middle(one: Sequence[int], other: Sequence[int]) -> Point:
    return triple((a + b) / 2 for a, b in zip(one, other, strict=True))


def _area_vector(triangle: Triangle) -> np.ndarray:
    first, second, third = np.array(triangle)
    return np.cross(second - first, third - first) / 2


def _area(triangle: Triangle) -> float:
    return float(np.linalg.norm(_area_vector(triangle)))
