"""Abdominal organs and bowel."""

from __future__ import annotations

import numpy as np

from data_prep.geometry.types import Box
from data_prep.phantom.painting.body_size import Build, Difficulty
from data_prep.phantom.painting.canvas import Canvas, coverage


def paint_organs(canvas: Canvas, build: Build, inside: np.ndarray) -> np.ndarray:
    """Paint liver, gallbladder, spleen, stomach and pancreas; return the share (0..1) that excludes the bowel."""
    rng, a, b = canvas.rng, build.half_width_mm - build.fat_mm, build.half_depth_mm - 0.8 * build.fat_mm
    drop = rng.uniform(-14.0, 12.0) - build.look.rise_mm  # of the upper organs

    box, right = canvas.ellipsoid(
        (-0.62 * a, -0.1 * b, 62.0 - drop), (0.74 * a * build.look.liver, 1.05 * b, rng.uniform(84.0, 104.0))
    )
    left_box, left = canvas.ellipsoid((-0.02 * a, -0.62 * b, 88.0 - drop), (0.55 * a, 0.42 * b, 56.0))
    liver = build.hu["liver"] + 4.0 * canvas.smooth_field(18.0)
    # veins of the liver: thin sheets where a smooth field passes through zero
    veins = np.clip(1.0 - np.abs(canvas.smooth_field(26.0)) / 0.06, 0.0, 1.0) * (canvas.smooth_field(30.0) > 0.2)
    liver = liver + veins * 0.5 * (build.hu["vein"] - build.hu["liver"])
    # the face toward the other organs is nearly a plane
    face = (0.55 * (canvas.x + 0.2 * a) + 0.35 * (canvas.y - 0.3 * b) - 0.6 * (canvas.z - 20.0 + drop)) / 60.0
    right = np.maximum(right, face[box] - 0.1)
    solid = np.zeros(canvas.shape_zyx, np.float32)
    for part, level in ((box, right), (left_box, left)):
        share = coverage(level) * inside[part]
        canvas.paint("liver", share, liver[part], part)
        solid[part] = np.maximum(solid[part], share)
    if rng.random() < 0.75:
        center = (-0.3 * a, rng.uniform(-0.5, -0.25) * b, rng.uniform(-5.0, 15.0))
        gallbladder = canvas.ellipsoid(center, (rng.uniform(11, 17), rng.uniform(13, 19), 26.0))
        canvas.fill("gallbladder", gallbladder, rng.uniform(5.0, 18.0), inside)

    box, level = canvas.ellipsoid(
        (0.74 * a, rng.uniform(0.18, 0.38) * b, 62.0 - drop),
        (rng.uniform(26, 36), rng.uniform(42, 54), rng.uniform(46, 62)),
    )
    moire = 14.0 * (1.0 - build.phase) * canvas.smooth_field(11.0, box)  # the spleen enhances in stripes at first
    share = coverage(level) * inside[box]
    canvas.paint("spleen", share, build.hu["spleen"] + moire, box)
    solid[box] = np.maximum(solid[box], share)

    center = (0.40 * a, -0.42 * b, 72.0 - drop)
    box, level = canvas.ellipsoid(center, (rng.uniform(34, 50), rng.uniform(28, 40), rng.uniform(44, 60)))
    share = coverage(level) * inside[box]
    canvas.paint("stomach", share, build.hu["bowel"], box)
    lumen = coverage(level + 0.12) * inside[box]
    canvas.paint("stomach", lumen, rng.uniform(5.0, 40.0) + 10.0 * canvas.smooth_field(8.0, box), box)
    canvas.paint("gas", lumen * coverage(canvas.y[box] - center[1] + rng.uniform(5.0, 25.0)), -950.0, box)

    y = build.spine_y_mm - 52.0
    path = [(-38, y + 4, 4), (-18, y - 6, 16), (18, y - 8, 26), (0.55 * a, y + 12, 46 - drop)]
    box, level = canvas.tube(path, rng.uniform(8.0, 11.0))
    canvas.paint(
        "pancreas", coverage(level) * inside[box], build.hu["pancreas"] + 12.0 * canvas.smooth_field(6.0, box), box
    )
    return solid


def paint_bowel(canvas: Canvas, build: Build, inside: np.ndarray, difficulty: Difficulty) -> None:
    """Paint the small bowel as many short tubes in front, and the colon at both sides."""
    rng, a, b = canvas.rng, build.half_width_mm - build.fat_mm, build.half_depth_mm - 0.8 * build.fat_mm
    oral = rng.random() < 0.25  # some patients drank contrast agent
    loops = int(rng.integers(*difficulty.bowel_loops))
    for _ in range(loops):
        z = rng.uniform(-105.0, 38.0)
        center = np.array([rng.uniform(-0.62, 0.68) * a, rng.uniform(-0.78, 0.02) * b, z])
        turn = rng.normal(0.0, 1.0, (2, 3)) * (22.0, 15.0, 10.0)
        box, level = canvas.tube([center - turn[0], center, center + turn[1]], rng.uniform(8.0, 15.0))
        paint_gut(canvas, build, box, level, inside, 2.2, 0.18, 0.6 if oral else 0.0)
    for side, low, high in ((-1.0, -110.0, -8.0), (1.0, -110.0, 42.0)):
        x = side * 0.82 * a
        points = [(x, rng.uniform(0.0, 0.3) * b, low)]
        points += [(x + rng.normal(0, 7), rng.uniform(-0.1, 0.3) * b, z) for z in np.linspace(low, high, 4)[1:]]
        box, level = canvas.tube(points, rng.uniform(14.0, 22.0))
        paint_gut(canvas, build, box, level, inside, 2.5, 0.9, 0.3 if oral else 0.0)


def paint_gut(
    canvas: Canvas, build: Build, box: Box, level: np.ndarray, inside: np.ndarray,
    wall_mm: float, gas_chance: float, oral_chance: float,
) -> None:  # fmt: skip
    """Paint wall and contents of one piece of bowel: water, contrast agent or stool, and gas at the front."""
    rng = canvas.rng
    share = coverage(level) * inside[box]
    canvas.paint("bowel", share, build.hu["bowel"], box)
    contents = rng.uniform(190.0, 330.0) if rng.random() < oral_chance else rng.uniform(8.0, 75.0)
    lumen = coverage(level + wall_mm) * inside[box]
    canvas.paint("bowel", lumen, contents + 14.0 * canvas.smooth_field(7.0, box), box)
    if rng.random() < gas_chance:
        middle = float(np.median(canvas.y[box][level < 0])) if (level < 0).any() else 0.0
        rough = canvas.y[box] - middle + rng.uniform(-6.0, 8.0) + rng.uniform(1.0, 9.0) * canvas.smooth_field(9.0, box)
        canvas.paint("gas", lumen * coverage(rough), -900.0, box)
