"""Trunk of a simulated patient: skin, fat, muscle, skeleton, great vessels, and the order of painting."""

from __future__ import annotations

import numpy as np

from data_prep.phantom.painting.body_size import Build, Difficulty
from data_prep.phantom.painting.canvas import Canvas, coverage
from data_prep.phantom.painting.chest_and_pelvis import paint_chest, paint_pelvis
from data_prep.phantom.painting.organs import paint_bowel, paint_organs

WALL_MM = 16.0  # least distance of kidneys from the outside of the wall


def _outline_mm(canvas: Canvas, half_width: float, front: float, back: float) -> np.ndarray:
    """Return the approximate radial distance (mm, negative inside) to a rounded rectangle, flatter at the back."""
    depth = np.where(canvas.y > 0, np.float32(back), np.float32(front))
    square = np.abs(canvas.x / half_width) ** 2.2 + np.abs(canvas.y / depth) ** 2.2
    level = np.maximum(square, 1e-6) ** (1 / 2.2)
    return np.hypot(canvas.x, canvas.y) * (1.0 - 1.0 / level)


def paint_torso(canvas: Canvas, build: Build, difficulty: Difficulty, around_mm: np.ndarray | None = None) -> None:
    """Paint everything except the kidneys; leave the abdomen without spine, back and vessels as `canvas.room`.

    around_mm: distance to the kidneys of a label map, as an array over the canvas. The body wall then leaves room for
    them, and chest and pelvis are also painted.
    """
    a, b, fat = build.half_width_mm, build.half_depth_mm, build.fat_mm
    back = 0.88 * b
    _paint_table(canvas, back)
    skin = _outline_mm(canvas, a, b, back)
    if around_mm is not None:
        skin = np.minimum(skin, around_mm - WALL_MM - 0.6 * fat)
    canvas.paint("skin", coverage(skin), 20.0)
    canvas.paint("fat", coverage(skin + 2.5), build.hu["fat"])
    wall = _outline_mm(canvas, a - fat, b - 0.8 * fat, back - 0.35 * fat)
    if around_mm is not None:
        wall = np.minimum(wall, around_mm - WALL_MM)
    streaks = build.hu["muscle"] + 9.0 * canvas.smooth_field(12.0)
    canvas.paint("muscle", coverage(wall), streaks)
    flanks = canvas.rng.uniform(8.0, 13.0)
    # the straight muscles in front are thinner than the flanks and separated by a line of tendon
    thick = (
        flanks * (0.75 + 0.25 * np.tanh(canvas.y / 40.0)) * (0.35 + 0.65 * np.clip(np.abs(canvas.x) / 14.0, 0.0, 1.0))
    )
    inside = coverage(wall + thick)
    canvas.paint("fat", inside, build.hu["fat"] + 6.0 * canvas.smooth_field(12.0))
    canvas.room = inside.copy()
    if around_mm is not None:
        inside = paint_chest(canvas, build, inside, around_mm)
    paint_bowel(canvas, build, inside * (1.0 - paint_organs(canvas, build, inside)), difficulty)
    _paint_back(canvas, build, streaks)
    _paint_ribs(canvas, build, wall + 0.5 * thick)
    _paint_vessels(canvas, build)
    if around_mm is not None:
        paint_pelvis(canvas, build, inside, streaks)


def _paint_table(canvas: Canvas, back: float) -> None:
    """Paint the scanner's table under the back."""
    plain_y = canvas.axes_mm[1][None, :, None] + canvas.axes_mm[2][None, None, :] ** 2 / 1400.0
    level = np.abs(plain_y - (back + 16.0)) - 2.5
    share = np.clip(0.5 - level / canvas.spacing_mm[1], 0.0, 1.0) * (np.abs(canvas.axes_mm[2]) < 190.0)
    canvas.paint("table", np.broadcast_to(share, canvas.shape_zyx), -150.0)


def _paint_back(canvas: Canvas, build: Build, streaks: np.ndarray) -> None:
    """Paint vertebrae and discs, spinal canal and arches, psoas, erector and quadratus muscles."""
    rng, y = canvas.rng, build.spine_y_mm
    for side in (-1.0, 1.0):
        # the psoas grows toward the pelvis
        size = np.clip(15.0 - 0.09 * canvas.z, 5.0, 24.0)
        psoas = coverage(canvas.column((side * (24.0 + 0.75 * size), y + 6.0), (0.85 * size, size)))
        erector = coverage(canvas.column((side * 34.0, y + 40.0), (30.0, 21.0)))
        quadratus = coverage(canvas.column((side * 62.0, y + 32.0), (17.0, 8.0)))
        for share in (psoas, erector, quadratus):
            canvas.paint("muscle", share, streaks)
            canvas.take_room(share)
    body = canvas.column((0.0, y), (23.5, 17.5))
    shell = coverage(body)
    canvas.take_room(shell)
    period = rng.uniform(33.0, 38.0)
    disc = coverage(np.abs((canvas.z + rng.uniform(0.0, period)) % period - 0.5 * period) - 4.0)
    canvas.paint("bone", shell, build.hu["bone"] + 170.0)
    box = canvas.box((0.0, y, 0.0), (24.0, 18.0, 1e4))
    spongy = build.hu["bone"] + 35.0 * canvas.smooth_field(7.0, box)
    canvas.paint("bone", coverage(body + 0.13)[box], spongy, box)
    canvas.paint("disc", shell * disc, 85.0)
    box, arch = canvas.ellipsoid((0.0, y + 25.0, 0.0), (17.0, 14.0, 1e4))
    share = coverage(arch)
    canvas.paint("bone", share, 380.0, box)
    canvas.take_room(share, box)
    box, canal = canvas.ellipsoid((0.0, y + 24.0, 0.0), (10.5, 8.5, 1e4))
    canvas.paint("disc", coverage(canal), 30.0, box)
    box, spinous = canvas.ellipsoid((0.0, y + 42.0, 0.0), (3.5, 18.0, 1e4))
    ripple = coverage(spinous + 0.6 * np.cos(canvas.z[box] * (2 * np.pi / period)) + 0.2)
    canvas.paint("bone", ripple, 320.0, box)
    box, level = canvas.tube([(-44.0, y + 24.0, 0.0), (44.0, y + 24.0, 0.0)], 3.5)
    repeated = coverage(np.abs((canvas.z[box] + 5.0) % period - 0.5 * period) - 4.0)
    canvas.paint("bone", coverage(level) * repeated * (np.abs(canvas.x[box]) > 11.0), 300.0, box)


def _paint_ribs(canvas: Canvas, build: Build, middle_mm: np.ndarray) -> None:
    """Paint ribs 12 and up, each descending toward the front; `middle_mm`: distance to the middle of the wall."""
    rng = canvas.rng
    near = np.nonzero(np.abs(middle_mm.ravel()) < 9.0)[0]
    x, y, z = (axis.ravel()[near] for axis in (canvas.x, canvas.y, canvas.z))
    angle = np.abs(np.arctan2(x / build.half_width_mm, y / build.half_depth_mm))  # 0 at the back, pi in front
    gap = rng.uniform(25.0, 30.0)
    number = (z + 75.0 * angle - rng.uniform(25.0, 55.0)) / gap  # 0 for rib 12, 1 for rib 11, ...
    rib = np.maximum(np.rint(number), 0.0)
    distance = np.hypot(middle_mm.ravel()[near] / 4.2, (number - rib) * gap / 5.5)
    share = np.clip(0.5 - (distance - 1.0) * 4.2 / canvas.spacing_mm[1], 0.0, 1.0)
    share *= (angle < np.minimum(0.95 + 0.35 * rib, 2.3)) & (angle > 0.28)
    volume = np.zeros(canvas.shape_zyx, np.float32)
    volume.ravel()[near] = share
    canvas.paint("bone", volume, 330.0)


def _paint_vessels(canvas: Canvas, build: Build) -> None:
    """Paint the aorta with calcified plaque, the inferior vena cava and mesenteric vessels."""
    rng, y = canvas.rng, build.spine_y_mm
    aorta = canvas.column((9.0, y - 29.0), (r := rng.uniform(9.0, 12.5), r))
    share = coverage(aorta)
    canvas.paint("aorta", share, build.hu["aorta"])
    canvas.take_room(share)
    if rng.random() < 0.5:
        box = canvas.box((9.0, y - 29.0, 0.0), (15.0, 15.0, 1e4))
        plaque = (np.abs(aorta[box]) < 0.16) & (canvas.smooth_field(9.0, box) > 1.0)
        canvas.paint("bone", 0.6 * plaque, 600.0, box)
    share = coverage(canvas.column((-19.0, y - 26.0), (rng.uniform(11.0, 14.0), rng.uniform(8.0, 11.0))))
    canvas.paint("vein", share, build.hu["vein"])
    canvas.take_room(share)
    for name, x in (("aorta", 4.0), ("vein", -9.0)):
        box, level = canvas.tube([(x, y - 52.0, 40.0), (x, y - 60.0, -20.0), (x - 12, y - 66.0, -110.0)], 4.5)
        canvas.paint(name, coverage(level), build.hu[name], box)
    for _ in range(14):  # branches in the fat in front
        start = np.array([rng.uniform(-60, 60), y - rng.uniform(58, 95), rng.uniform(-90, 30)])
        branch = canvas.tube([start, start + rng.normal(0.0, 1.0, 3) * (18.0, 9.0, 22.0)], rng.uniform(1.5, 3.0))
        canvas.fill("vein", branch, build.hu["vein"])
