"""Labels placed on the grid of their image by their place in the patient, in whatever order axes are stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_prep.errors import InputError
from data_prep.geometry.source_grid import SourceGrid, corners_apart_mm, same_grid
from data_prep.geometry.types import triple
from data_prep.geometry.volume import Volume

CROPPED = "the labels cover a box of the image: outside it is background"
_OTHER_SHAPE, _OTHER_GRID = "shape_differs", "grid_differs"


def place_labels(labels: Volume, grid: SourceGrid, of: str = "the image") -> Volume:
    """Return labels on another grid, as `read_labels` would have read them from a file of that grid.

    The same voxels may be stored in another order of the axes, and cover only a box of the grid: what lies outside the
    box becomes background, and a note says so. A box that begins at the grid's own first voxel is refused: rather,
    slices or lines were lost under an old header. Nothing is resampled. A corner may be off by a tenth of a voxel, as
    in `same_grid`.

    Args:
        labels: in axial order.
        grid: of the image, in its file's axis order.
        of: whose grid it is, in errors.

    Raises:
        InputError: the labels' voxels are not those of the grid (code `shape_differs` or `grid_differs`).
    """
    found = labels.source.axial, labels.voxels
    wanted = grid.axial
    own, voxels = _along(wanted, *found)
    first = _first_voxel(own, wanted)
    inside = all(0 <= start <= most - n for start, n, most in zip(first, own.size, wanted.size, strict=True))
    if not (inside and same_grid(_box(wanted, first, own.size), own)):
        raise _other_grid(labels, found[0], wanted, of)
    notes = labels.notes
    if own.size != wanted.size:
        if np.allclose(labels.source.origin, grid.origin, atol=min(grid.spacing) / 2):
            raise _other_grid(labels, found[0], wanted, of)
        voxels, notes = _padded(voxels, first, wanted.size), (*labels.notes, CROPPED)
    return replace(labels, voxels=voxels, spacing_mm=grid.axial_spacing_mm, source=grid, notes=notes)


def _along(wanted: SourceGrid, own: SourceGrid, voxels: np.ndarray) -> tuple[SourceGrid, np.ndarray]:
    """Return a grid and its voxels [z, y, x] with the axes in the order of `wanted`.

    Both are in axial order, so this changes only oblique grids whose axes are equally near to two of the patient's.
    """
    axes = np.reshape(own.direction, (3, 3))
    turns = np.reshape(wanted.direction, (3, 3)).T @ axes  # row: axis of `wanted`, column: of `own`
    order = np.abs(turns).argmax(axis=1)
    if sorted(order) != [0, 1, 2]:
        return own, voxels
    signs = np.sign(turns[np.arange(3), order])
    size, spacing = np.array(own.size)[order], np.array(own.spacing)[order]
    axes = axes[:, order]
    origin = np.array(own.origin) + axes @ np.where(signs < 0, (size - 1) * spacing, 0.0)
    turned = SourceGrid(
        triple(size.tolist()), triple(spacing.tolist()), triple(origin.tolist()), tuple((axes * signs).ravel().tolist())
    )
    flips = tuple(int(2 - axis) for axis in np.flatnonzero(signs < 0))
    return turned, np.flip(voxels.transpose(2 - order[::-1]), flips)


def _first_voxel(own: SourceGrid, wanted: SourceGrid) -> tuple[int, ...]:
    away = np.array(own.origin) - wanted.origin
    index = np.reshape(wanted.direction, (3, 3)).T @ away / wanted.spacing
    return tuple(np.rint(np.clip(index, -1e9, 1e9)).astype(int).tolist())


def _box(grid: SourceGrid, first: tuple[int, ...], size: tuple[int, ...]) -> SourceGrid:
    origin = np.array(grid.origin) + np.reshape(grid.direction, (3, 3)) @ (np.array(first) * grid.spacing)
    return replace(grid, size=size, origin=tuple(origin.tolist()))


def _padded(voxels: np.ndarray, first: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    # first, size: x, y, z; the arrays: z, y, x
    placed = np.zeros(size[::-1], voxels.dtype)
    placed[tuple(slice(start, start + n) for start, n in zip(first[::-1], voxels.shape, strict=True))] = voxels
    return placed


def _other_grid(labels: Volume, own: SourceGrid, wanted: SourceGrid, of: str) -> InputError:
    if own.size != wanted.size:
        shapes = f"has {own.size[::-1]} voxels (z, y, x), {of} {wanted.size[::-1]}"
        remedy = f"expected the voxels of {of}, or a box within; use labels that were drawn on it"
        return InputError(f"{shapes}; {remedy}", labels.path, _OTHER_SHAPE)
    differing = [
        part
        for part in ("spacing", "origin", "direction")
        if not np.allclose(getattr(own, part), getattr(wanted, part), atol=1e-3)
    ]
    moved = f"{', '.join(differing) or 'the corners'} differ; a corner lies {corners_apart_mm(own, wanted):.3g} mm away"
    remedy = f"expected the voxels of {of}; resample the labels to it"
    return InputError(f"lies on another grid than {of} ({moved}); {remedy}", labels.path, _OTHER_GRID)
