"""The simulated patient without the kidneys: trunk, skeleton, abdominal organs, bowel and great vessels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.phantom_canvas import Canvas, coverage


@dataclass(frozen=True)
class Build:
    """Sizes (mm) and enhancement (HU) of one patient, drawn before anything is painted."""

    half_width_mm: float  # skin to midline, sideways
    half_depth_mm: float  # skin to the middle, front to back
    fat_mm: float  # under the skin at the side
    phase: float  # 0: late arterial (cortex far brighter than medulla), 1: nephrographic (both alike)
    hu: dict[str, float]

    @property
    def spine_y_mm(self) -> float:
        """Center of the vertebral bodies: a hand's breadth in front of the skin of the back."""
        return 0.88 * self.half_depth_mm - 0.35 * self.fat_mm - 57.0


def draw_build(rng: np.random.Generator, hard: bool) -> Build:
    """Draw a patient's size and enhancement. `hard`: any phase; else the phases in which kidneys stand out."""
    half_width = rng.uniform(162.0, 208.0)
    # wide patients carry the difference as fat
    fat = np.clip(0.42 * (half_width - 150.0) + rng.normal(0.0, 4.0), 5.0, 34.0)
    phase = rng.uniform(0.0, 1.0) if hard else rng.uniform(0.35, 0.9)

    def between(arterial: float, nephrographic: float, spread: float) -> float:
        return float(arterial + phase * (nephrographic - arterial) + rng.normal(0.0, spread))

    hu = {
        "fat": between(-104, -104, 4),
        "muscle": between(58, 64, 4),
        "liver": between(82, 112, 9),
        "spleen": between(120, 122, 9),
        "pancreas": between(100, 92, 8),
        "aorta": between(300, 165, 22),
        "vein": between(120, 150, 15),
        "cortex": max(between(205, 178, 15), 150.0),
        "bone": between(170, 170, 25),
        "bowel": between(95, 90, 8),
    }
    hu["medulla"] = hu["cortex"] - float(np.clip((1.0 - phase) * rng.uniform(60.0, 105.0), 4.0, 100.0))
    return Build(half_width, half_width * rng.uniform(0.64, 0.76), float(fat), float(phase), hu)


def _outline_mm(canvas: Canvas, half_width: float, front: float, back: float) -> np.ndarray:
    """Return about the radial distance (mm, negative inside) to a rounded rectangle, flatter at the back."""
    depth = np.where(canvas.y > 0, np.float32(back), np.float32(front))
    square = np.abs(canvas.x / half_width) ** 2.2 + np.abs(canvas.y / depth) ** 2.2
    level = np.maximum(square, 1e-6) ** (1 / 2.2)
    return np.hypot(canvas.x, canvas.y) * (1.0 - 1.0 / level)


def paint_torso(canvas: Canvas, build: Build, hard: bool) -> None:
    """Paint everything but the kidneys; `canvas.room` ends as the inside of the abdomen less spine, back and vessels."""
    a, b, fat = build.half_width_mm, build.half_depth_mm, build.fat_mm
    back = 0.88 * b
    _paint_table(canvas, back)
    skin = _outline_mm(canvas, a, b, back)
    canvas.paint("skin", coverage(skin), 20.0)
    canvas.paint("fat", coverage(skin + 2.5), build.hu["fat"])
    wall = _outline_mm(canvas, a - fat, b - 0.8 * fat, back - 0.35 * fat)
    streaks = build.hu["muscle"] + 9.0 * canvas.smooth_field(9.0)
    canvas.paint("muscle", coverage(wall), streaks)
    thick = canvas.rng.uniform(8.0, 13.0)
    # the straight muscles in front are thinner than the flanks, and a line of tendon parts them
    thick = (
        thick
        * (0.75 + 0.25 * np.tanh(canvas.y / 40.0))
        * (0.35 + 0.65 * np.clip(np.abs(canvas.x) / 14.0, 0.0, 1.0))
    )
    inside = coverage(wall + thick)
    canvas.paint("fat", inside, build.hu["fat"] + 6.0 * canvas.smooth_field(8.0))
    canvas.room = inside.copy()
    _paint_bowel(canvas, build, inside * (1.0 - _paint_organs(canvas, build, inside)), hard)
    _paint_back(canvas, build, streaks)
    _paint_ribs(canvas, build, wall + 0.5 * thick)
    _paint_vessels(canvas, build)


def _paint_table(canvas: Canvas, back: float) -> None:
    """A scanner's table under the back, the only thing outside of the body."""
    plain_y = canvas.axes_mm[1][None, :, None] + canvas.axes_mm[2][None, None, :] ** 2 / 1400.0
    level = np.abs(plain_y - (back + 16.0)) - 2.5
    share = np.clip(0.5 - level / canvas.spacing_mm[1], 0.0, 1.0) * (np.abs(canvas.axes_mm[2]) < 190.0)
    canvas.paint("table", np.broadcast_to(share, canvas.shape_zyx), -150.0)


def _paint_organs(canvas: Canvas, build: Build, inside: np.ndarray) -> np.ndarray:
    """Paint liver, gallbladder, spleen, stomach, pancreas; return the share (0..1) that keeps the bowel out."""
    rng, a, b = canvas.rng, build.half_width_mm - build.fat_mm, build.half_depth_mm - 0.8 * build.fat_mm
    drop = rng.uniform(-14.0, 12.0)  # how far down the upper organs reach

    box, right = canvas.ellipsoid(
        (-0.62 * a, -0.1 * b, 62.0 - drop), (0.74 * a, 1.05 * b, rng.uniform(84.0, 104.0))
    )
    left_box, left = canvas.ellipsoid((-0.02 * a, -0.62 * b, 88.0 - drop), (0.55 * a, 0.42 * b, 56.0))
    liver = build.hu["liver"] + 4.0 * canvas.smooth_field(18.0)
    # veins of the liver: where a smooth field passes through zero, thin sheets and branches
    veins = np.clip(1.0 - np.abs(canvas.smooth_field(26.0)) / 0.06, 0.0, 1.0) * (
        canvas.smooth_field(30.0) > 0.2
    )
    liver = liver + veins * 0.5 * (build.hu["vein"] - build.hu["liver"])
    # the face toward the other organs is about a plane that leaves the midline as it goes down
    face = (0.55 * (canvas.x + 0.2 * a) + 0.35 * (canvas.y - 0.3 * b) - 0.6 * (canvas.z - 20.0 + drop)) / 60.0
    right = np.maximum(right, face[box] - 0.1)
    solid = np.zeros(canvas.shape_zyx, np.float32)
    for part, level in ((box, right), (left_box, left)):
        share = coverage(level) * inside[part]
        canvas.paint("liver", share, liver[part], part)
        solid[part] = np.maximum(solid[part], share)
    if rng.random() < 0.75:
        box, level = canvas.ellipsoid(
            (-0.3 * a, rng.uniform(-0.5, -0.25) * b, rng.uniform(-5.0, 15.0)),
            (rng.uniform(11, 17), rng.uniform(13, 19), 26.0),
        )
        canvas.paint("gallbladder", coverage(level) * inside[box], rng.uniform(5.0, 18.0), box)

    box, level = canvas.ellipsoid(
        (0.74 * a, rng.uniform(0.18, 0.38) * b, 62.0 - drop),
        (rng.uniform(26, 36), rng.uniform(42, 54), rng.uniform(46, 62)),
    )
    moire = (
        14.0 * (1.0 - build.phase) * canvas.smooth_field(11.0, box)
    )  # the spleen enhances in stripes at first
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
        "pancreas",
        coverage(level) * inside[box],
        build.hu["pancreas"] + 12.0 * canvas.smooth_field(6.0, box),
        box,
    )
    return solid


def _paint_bowel(canvas: Canvas, build: Build, inside: np.ndarray, hard: bool) -> None:
    """Small bowel as many short tubes in front, colon at both sides; contents of water, contrast agent, stool or gas."""
    rng, a, b = canvas.rng, build.half_width_mm - build.fat_mm, build.half_depth_mm - 0.8 * build.fat_mm
    oral = rng.random() < 0.25  # some patients drank contrast agent
    loops = int(rng.integers(60, 80) if hard else rng.integers(45, 70))
    for _ in range(loops):
        z = rng.uniform(-105.0, 38.0)
        center = np.array([rng.uniform(-0.62, 0.68) * a, rng.uniform(-0.78, 0.02) * b, z])
        turn = rng.normal(0.0, 1.0, (2, 3)) * (22.0, 15.0, 10.0)
        box, level = canvas.tube([center - turn[0], center, center + turn[1]], rng.uniform(8.0, 15.0))
        _paint_gut(canvas, build, box, level, inside, 2.2, 0.18, 0.6 if oral else 0.0)
    for side, low, high in ((-1.0, -110.0, -8.0), (1.0, -110.0, 42.0)):
        x = side * 0.82 * a
        points = [(x, rng.uniform(0.0, 0.3) * b, low)]
        points += [
            (x + rng.normal(0, 7), rng.uniform(-0.1, 0.3) * b, z) for z in np.linspace(low, high, 4)[1:]
        ]
        box, level = canvas.tube(points, rng.uniform(14.0, 22.0))
        _paint_gut(canvas, build, box, level, inside, 2.5, 0.9, 0.3 if oral else 0.0)


def _paint_gut(canvas, build, box, level, inside, wall_mm, gas_chance, oral_chance) -> None:
    """Wall and contents of one piece; gas rises to the front, stool is mottled with it."""
    rng = canvas.rng
    share = coverage(level) * inside[box]
    canvas.paint("bowel", share, build.hu["bowel"], box)
    contents = rng.uniform(190.0, 330.0) if rng.random() < oral_chance else rng.uniform(8.0, 75.0)
    lumen = coverage(level + wall_mm) * inside[box]
    canvas.paint("bowel", lumen, contents + 14.0 * canvas.smooth_field(7.0, box), box)
    if rng.random() < gas_chance:
        middle = float(np.median(canvas.y[box][level < 0])) if (level < 0).any() else 0.0
        rough = (
            canvas.y[box]
            - middle
            + rng.uniform(-6.0, 8.0)
            + rng.uniform(1.0, 9.0) * canvas.smooth_field(9.0, box)
        )
        canvas.paint("gas", lumen * coverage(rough), -900.0, box)


def _paint_back(canvas: Canvas, build: Build, streaks: np.ndarray) -> None:
    """Vertebrae and discs, spinal canal and arches, psoas, erector and quadratus muscles."""
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
    canvas.paint("bone", coverage(body + 0.13), build.hu["bone"] + 35.0 * canvas.smooth_field(7.0))
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
    """Ribs 12 and up inside the wall, each falling toward the front; `middle_mm` is the distance to the wall's middle."""
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
    """Aorta with calcified plaque, inferior vena cava, mesenteric vessels."""
    rng, y = canvas.rng, build.spine_y_mm
    aorta = canvas.column((9.0, y - 29.0), (r := rng.uniform(9.0, 12.5), r))
    share = coverage(aorta)
    canvas.paint("aorta", share, build.hu["aorta"])
    canvas.take_room(share)
    if rng.random() < 0.5:
        plaque = (np.abs(aorta) < 0.16) & (canvas.smooth_field(9.0) > 1.0)
        canvas.paint("bone", 0.6 * plaque, 600.0)
    share = coverage(canvas.column((-19.0, y - 26.0), (rng.uniform(11.0, 14.0), rng.uniform(8.0, 11.0))))
    canvas.paint("vein", share, build.hu["vein"])
    canvas.take_room(share)
    for name, x in (("aorta", 4.0), ("vein", -9.0)):
        box, level = canvas.tube([(x, y - 52.0, 40.0), (x, y - 60.0, -20.0), (x - 12, y - 66.0, -110.0)], 4.5)
        canvas.paint(name, coverage(level), build.hu[name], box)
    for _ in range(14):  # branches in the fat in front
        start = np.array([rng.uniform(-60, 60), y - rng.uniform(58, 95), rng.uniform(-90, 30)])
        box, level = canvas.tube(
            [start, start + rng.normal(0.0, 1.0, 3) * (18.0, 9.0, 22.0)], rng.uniform(1.5, 3.0)
        )
        canvas.paint("vein", coverage(level) * canvas.room[box], build.hu["vein"], box)
