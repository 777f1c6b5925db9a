"""Label maps made by hand for the tests of simulated patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.helpers import KITS_AFFINE, save

SPACING_MM = (4.0, 3.0, 3.0)
SHAPE = (44, 128, 128)


def ball(labels: np.ndarray, center_mm: tuple[float, float, float], radii_mm, value: int) -> None:
    """Draw an ellipsoid; center and radii in x, y, z, mm from the middle of the field."""
    places = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(labels.shape, SPACING_MM, strict=True)]
    z, y, x = np.ix_(*places)
    level = sum(((p - c) / r) ** 2 for p, c, r in zip((x, y, z), center_mm, np.broadcast_to(radii_mm, 3), strict=True))
    labels[level < 1] = value


def two_kidneys(tumor_mm: float = 18.0) -> np.ndarray:
    """Return two kidneys beside the midline, the patient's left one with a tumor of that radius at its outer edge."""
    labels = np.zeros(SHAPE, np.uint8)
    for side in (-1, 1):
        ball(labels, (65.0 * side, 30.0, 4.0 * side), (28.0, 26.0, 52.0), 1)
    if tumor_mm:
        ball(labels, (92.0, 24.0, 10.0), tumor_mm, 2)
    return labels


def write_maps(root: Path, maps: dict[str, np.ndarray]) -> Path:
    """Write label maps [z, y, x] in KiTS' own axis order, by case name."""
    affine = KITS_AFFINE / np.abs(KITS_AFFINE).sum(axis=1, keepdims=True)
    dz, dy, dx = SPACING_MM
    for name, labels in maps.items():
        (root / name).mkdir(parents=True)
        save(root / name / "segmentation.nii.gz", labels[::-1], affine @ np.diag([dz, dy, dx, 1.0]))
    return root
