"""Lung bases, heart and pelvis of a scan around a real label map."""

from __future__ import annotations

import numpy as np

from data_prep.phantom.painting.body_size import Build
from data_prep.phantom.painting.canvas import Canvas, coverage
from data_prep.phantom.painting.organs import paint_gut

BRIM_MM = -95.0  # the iliac crests, below the middle of the kidneys
BOWEL_END_MM, FLOOR_MM = -105.0, -225.0  # lower ends of the bowel loops of abdomen and pelvis
LUNG_GAP_MM = 8.0  # between kidneys and lungs: the diaphragm and fat


def paint_chest(canvas: Canvas, build: Build, inside: np.ndarray, around_mm: np.ndarray) -> np.ndarray:
    """Paint the lungs above the diaphragm, and the heart; return `inside` without the lungs.

    The organs below are painted later and extend into the domes of the diaphragm.
    """
    if canvas.axes_mm[0][-1] < 30.0:
        return inside
    a, b = build.half_width_mm - build.fat_mm, build.half_depth_mm - 0.8 * build.fat_mm
    dome = 128.0 - 52.0 * ((np.abs(canvas.x) - 0.42 * a) / (0.5 * a)) ** 2 - 48.0 * (canvas.y / b + 0.25) ** 2
    level = np.maximum(dome + 6.0 * canvas.smooth_field(40.0) - canvas.z, LUNG_GAP_MM - around_mm)
    level = np.maximum(level, 34.0 - np.hypot(0.8 * canvas.x, np.minimum(canvas.y - build.spine_y_mm + 40.0, 0.0)))
    lung = coverage(level) * inside
    vessels = np.clip(1.0 - np.abs(canvas.smooth_field(11.0)) / 0.1, 0.0, 1.0) * (canvas.smooth_field(14.0) > 0.6)
    canvas.paint("lung", lung, -850.0 + 30.0 * canvas.smooth_field(20.0) + 650.0 * vessels)
    canvas.take_room(lung)
    heart = canvas.ellipsoid((0.16 * a, -0.4 * b, 178.0), (0.5 * a, 0.46 * b, 62.0))
    canvas.fill("heart", heart, 0.5 * (build.hu["aorta"] + build.hu["muscle"]), inside)
    return inside * (1.0 - lung)


def paint_pelvis(canvas: Canvas, build: Build, inside: np.ndarray, muscle_hu: np.ndarray) -> None:
    """Paint the iliac bones and their muscles, the hips, the bowel of the pelvis and the bladder."""
    if canvas.axes_mm[0][0] > BRIM_MM:
        return
    y, rng = build.spine_y_mm, canvas.rng
    for side in (-1.0, 1.0):
        box, gluteal = canvas.ellipsoid((side * 88.0, y + 22.0, -215.0), (58.0, 36.0, 105.0))
        canvas.paint("muscle", coverage(gluteal), muscle_hu[box], box)
        canvas.take_room(coverage(gluteal), box)
        # a wing of the ilium: an oblique plate, wide above, leaning outward, with edges that converge below
        box = canvas.box((side * 78.0, y - 25.0, -155.0), (50.0, 70.0, 66.0))
        dx, dy, dz = canvas.offsets((side * 64.0, y - 20.0, -190.0), box)
        plate = 0.8 * np.abs(side * dx - 0.42 * dz + 0.3 * dy - 0.003 * dy**2) - 5.0
        plate = np.maximum(plate, np.abs(dy + 4.0) - np.clip(34.0 + 0.3 * dz, 14.0, 58.0))
        plate = np.maximum(plate, np.maximum(dz - 92.0 + 0.012 * dy**2, -32.0 - dz))
        canvas.paint("bone", coverage(plate), 420.0, box)
        canvas.paint("bone", coverage(plate + 3.0), 170.0, box)
        canvas.take_room(coverage(plate), box)
        for center, radius in (((side * 90.0, y - 50.0, -262.0), 25.0), ((side * 118.0, y - 42.0, -290.0), 20.0)):
            box, ball = canvas.ellipsoid(center, (radius, radius, radius))
            canvas.paint("bone", coverage(ball), 430.0, box)
            canvas.paint("bone", coverage(ball + 0.12), 260.0, box)
    a, b = build.half_width_mm - build.fat_mm, build.half_depth_mm - 0.8 * build.fat_mm
    low = max(float(canvas.axes_mm[0][0]), FLOOR_MM)
    free = inside * canvas.room
    for _ in range(round(0.3 * (BOWEL_END_MM - low))):
        middle = np.array([rng.uniform(-0.5, 0.5) * a, rng.uniform(-0.7, 0.05) * b, rng.uniform(low, BOWEL_END_MM)])
        turn = rng.normal(0.0, 1.0, 3) * (22.0, 15.0, 10.0)
        box, level = canvas.tube([middle - turn, middle, middle + turn[::-1]], rng.uniform(8.0, 15.0))
        paint_gut(canvas, build, box, level, free, 2.2, 0.25, 0.0)
    box, bladder = canvas.ellipsoid(
        (rng.uniform(-6.0, 6.0), y - 75.0, -250.0), (rng.uniform(32, 48), rng.uniform(26, 38), rng.uniform(22, 40))
    )
    canvas.paint("muscle", coverage(bladder) * inside[box], build.hu["muscle"], box)
    canvas.paint("bladder", coverage(bladder + 0.1) * inside[box], 8.0, box)
