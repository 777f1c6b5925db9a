"""A horseshoe kidney's isthmus: kidney tissue from lower pole to lower pole, in front of the aorta."""

from __future__ import annotations

import numpy as np

from data_prep.phantom.painting.canvas import TISSUES, Canvas, coverage
from data_prep.phantom.painting.habitus import Build
from data_prep.phantom.painting.kidneys import Kidney

RADIUS_MM = (9.0, 13.0)


def isthmus_path_mm(right_mm: np.ndarray, left_mm: np.ndarray, spine_mm: tuple[float, float]) -> np.ndarray:
    """Return the isthmus' way, float32 [5, 3] in x, y, z: from pole to pole, lowest in the middle.

    spine_mm: x and y of the middle of the vertebral bodies. 56 mm in front of it the aorta is passed.
    """
    x, y = spine_mm
    low = min(right_mm[2], left_mm[2]) - 4.0
    half = 0.55 * min(abs(right_mm[0] - x), abs(left_mm[0] - x))
    middle = [(x - half, y - 48.0, low), (x + 2.0, y - 56.0, low), (x + half, y - 48.0, low)]
    return np.array([right_mm, *middle, left_mm], np.float32)


def paint_isthmus(canvas: Canvas, build: Build, kidneys: list[Kidney]) -> None:
    """Join the lower poles of the two kidneys (right, left) by kidney tissue in a thin coat of fat."""
    right, left = (kidney.center_mm - 0.8 * kidney.radii_mm[0] * kidney.axes[0] for kidney in kidneys)
    path = isthmus_path_mm(right, left, (0.0, build.spine_y_mm))
    box, level = canvas.tube(path, canvas.rng.uniform(*RADIUS_MM))
    parenchyma = np.isin(canvas.tissue[box], [TISSUES.index("cortex"), TISSUES.index("medulla")])
    canvas.paint("fat", coverage(level - 5.0) * canvas.room[box] * ~parenchyma, build.hu["fat"], box)
    canvas.paint("cortex", coverage(level) * canvas.room[box], build.hu["cortex"], box)
