"""What labels lose on the way to the network's grid, and how far a perfect network could still come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from data_prep.geometry.components import EMPTY, bounding_box, connected
from data_prep.geometry.network_grid import (
    GridSettings,
    Spacing,
    labels_to_network,
    network_pixel_mm,
    probabilities_to_labels,
    shares_to_network,
)
from data_prep.labels import TUMOR

NOTABLE = 0.01  # a share of a structure's voxels; more is worth a warning

_PARTS = (
    ("outside", "outside_field", "lies outside the network's field"),
    ("vanished", "lost_on_grid", "vanishes on the network's grid"),
)


@dataclass(frozen=True)
class GridLoss:
    """Shares of the voxels of kidney (with tumor) and of tumor, 0 to 1, and Dice; None for an absent structure.

    outside: their centers lie outside the network's field. vanished: inside, but of a piece of a slice (pixels that
    touch by edge or corner) that leaves no pixel on the grid. ceiling: Dice of a perfect network, whose output is the
    share of every pixel that each label covers, on the source's grid.
    """

    kidney_outside: float | None = None
    kidney_vanished: float | None = None
    kidney_ceiling: float | None = None
    tumor_outside: float | None = None
    tumor_vanished: float | None = None
    tumor_ceiling: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{item.name}: found {value}, expected a share from 0 to 1")

    def lines(self) -> Iterator[tuple[float, str, str]]:
        """Yield (share, code, text) for every share above 0; the codes are those of the data check.

        >>> list(GridLoss(tumor_outside=0.25).lines())
        [(0.25, 'outside_field', "25 % of its tumor lies outside the network's field")]
        """
        for name in ("kidney", "tumor"):
            for what, code, text in _PARTS:
                if share := getattr(self, f"{name}_{what}"):
                    yield share, code, f"{100 * share:.2g} % of its {name} {text}"


def grid_loss(labels: np.ndarray, spacing_mm: Spacing, settings: GridSettings) -> GridLoss:
    """Return what labels lose on a grid: uint8 [z, y, x], 0 background, 1 kidney, 2 tumor; spacing (z, y, x) in mm.

    An empty map loses nothing: all its values are None.
    """
    labelled = labels[labels.any(axis=(1, 2))]
    if not labelled.size:
        return GridLoss()
    rows, columns = (_pixel_of(labels.shape[1:], spacing_mm, settings, axis) for axis in (0, 1))
    inside = (rows >= 0)[:, None] & (columns >= 0)[None, :]
    counts = {name: np.zeros(5, np.int64) for name in ("kidney", "tumor")}
    for plane in labelled:  # one by one: probabilities of a whole scan would need gigabytes
        one = plane[None]
        seen = labels_to_network(one, spacing_mm, settings)[0]
        back = probabilities_to_labels(shares_to_network(one, spacing_mm, settings), one.shape, spacing_mm, settings)[0]
        y, x = (bounding_box(one, back[None]) or EMPTY)[1:]
        plane, back, here = plane[y, x], back[y, x], inside[y, x]
        for name, least in (("kidney", 1), ("tumor", TUMOR)):
            true, found = plane >= least, back >= least
            kept = here & (seen >= least)[np.ix_(rows[y], columns[x])]
            gone = np.count_nonzero(true & ~here), _vanished(true, kept, here)
            dice = (int(np.count_nonzero(mask)) for mask in (true & found, true, found))
            counts[name] += np.array([*gone, *dice])
    return GridLoss(**{key: value for name, found in counts.items() for key, value in _shares(name, found).items()})


def _shares(name: str, counts: np.ndarray) -> dict[str, float]:
    outside, vanished, both, true, found = counts.tolist()
    if not true:
        return {}
    return {
        f"{name}_outside": outside / true,
        f"{name}_vanished": vanished / true,
        f"{name}_ceiling": 2 * both / (true + found),
    }


def _pixel_of(shape_yx: tuple[int, ...], spacing_mm: Spacing, settings: GridSettings, axis: int) -> np.ndarray:
    """Return the network's pixel at the center of every source pixel of an axis; -1 outside the field."""
    pixel_mm = network_pixel_mm(shape_yx, spacing_mm[1:], settings)
    centers_mm = (np.arange(shape_yx[axis]) + 0.5 - shape_yx[axis] / 2) * spacing_mm[1 + axis]
    pixels = np.floor(centers_mm / pixel_mm + settings.size / 2 + 1e-9).astype(np.int64)
    return np.where((pixels >= 0) & (pixels < settings.size), pixels, -1)


def _vanished(true: np.ndarray, kept: np.ndarray, inside: np.ndarray) -> int:
    """Return how many pixels inside the field belong to pieces without a kept pixel."""
    mask = true & inside
    if not mask.any():
        return 0
    box = (bounding_box(mask[None]) or EMPTY)[1:]
    pieces, count = connected(mask[None][:, *box])
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    alive = np.bincount(pieces[0][(mask & kept)[box]], minlength=count + 1) > 0
    return int(sizes[1:][~alive[1:]].sum())
