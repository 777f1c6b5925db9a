"""Simulated kidneys, their cysts and the tumor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.geometry.types import Box
from data_prep.phantom.painting.appearance import rim
from data_prep.phantom.painting.body_size import Build, Difficulty
from data_prep.phantom.painting.canvas import Canvas, coverage

# KiTS19's 210 training tumors: median 30 mL, 15 % under 5 mL, 5 % over 373 mL: a log-normal distribution with the
# deviations ln(30/5)/1.036 below and ln(373/30)/1.645 above the median
MEDIAN_ML, SMALL_DEVIATION, LARGE_DEVIATION = 30.0, 1.729, 1.532
DARKEST_TUMOR_HU = 55.0
LARGEST_ML = 420.0  # KiTS: up to 1464 mL, which would not fit between the organs


@dataclass(frozen=True)
class Kidney:
    """One painted kidney: its place, its axes in x, y, z, and its radii."""

    side: float  # -1: the patient's right, +1: left
    center_mm: np.ndarray
    axes: np.ndarray  # rows: along the kidney (up), outward, across
    radii_mm: np.ndarray  # in the order of the rows
    box: Box
    share: np.ndarray  # 0..1 in the box

    def surface_mm(self, direction: np.ndarray) -> np.ndarray:
        """Return the point of the unbent surface in a direction x, y, z."""
        local = self.axes @ direction
        return self.center_mm + direction / np.sqrt(((local / self.radii_mm) ** 2).sum())


def tumor_size_ml(place: float, smallest_ml: float = 0.8) -> float:
    """Return the tumor size at `place` (0..1, exclusive) of the cohort's distribution, clamped to what fits.

    >>> tumor_size_ml(0.5)
    30.0
    """
    from statistics import NormalDist

    z = NormalDist().inv_cdf(place)
    size = MEDIAN_ML * np.exp(z * (SMALL_DEVIATION if z < 0 else LARGE_DEVIATION))
    return float(np.clip(size, smallest_ml, LARGEST_ML))


def tumor_size_place(size_ml: float) -> float:
    """Return the share of tumors that are no larger: the inverse of `tumor_size_ml`, without its limits.

    >>> tumor_size_place(30.0)
    0.5
    """
    from statistics import NormalDist

    z = float(np.log(size_ml / MEDIAN_ML))
    return NormalDist().cdf(z / (SMALL_DEVIATION if z < 0 else LARGE_DEVIATION))


def paint_kidney(canvas: Canvas, build: Build, side: float) -> Kidney:
    """Paint one kidney in its fat: a bent ellipsoid with cortex, pyramids, and a sinus toward the midline."""
    rng = canvas.rng
    radii = np.array([rng.uniform(49.0, 58.0), rng.uniform(28.0, 33.0), rng.uniform(24.5, 29.0)])
    # fat pushes the kidneys apart; the left one is higher
    x = 60.0 + 0.45 * build.fat_mm + rng.uniform(-3.0, 5.0)
    center = np.array([side * x, build.spine_y_mm + rng.uniform(-4.0, 6.0), 6.0 * side + rng.uniform(-7.0, 7.0)])
    up = np.array([-side * rng.uniform(0.1, 0.28), rng.uniform(0.05, 0.22), 1.0])  # upper pole inward and back
    turn = np.radians(rng.uniform(20.0, 50.0))  # the hilum looks forward and inward
    out = np.array([side * np.cos(turn), np.sin(turn), 0.0])
    up /= np.linalg.norm(up)
    out -= up * (out @ up)
    out /= np.linalg.norm(out)
    axes = np.stack([up, out, np.cross(up, out)])

    fat_mm = float(np.clip(0.45 * build.fat_mm + rng.uniform(-1.0, 5.0), 2.5, 16.0)) * build.look.coat
    box = canvas.box(center, radii.max() + fat_mm)
    dx, dy, dz = canvas.offsets(center, box)
    along, outward, across = (dx * v[0] + dy * v[1] + dz * v[2] for v in axes)
    along, outward, across = along / radii[0], outward / radii[1], across / radii[2]
    bent = outward + rng.uniform(0.2, 0.45) * (along**2 - 0.3)  # both poles lean toward the midline
    radius = np.sqrt(along**2 + bent**2 + across**2) + 0.03 * canvas.smooth_field(16.0, box)
    room = canvas.room[box]
    canvas.paint("fat", coverage(radius - 1.0 - fat_mm / radii[1]) * room, build.hu["fat"], box)

    wide = rng.uniform(0.42, 0.58)
    opening = np.sqrt((along / wide) ** 2 + ((outward + 0.72) / 0.62) ** 2 + (across / rng.uniform(0.3, 0.44)) ** 2)
    sinus = coverage(opening - 1.0 + 0.12 * canvas.smooth_field(9.0, box))
    whole = coverage(radius - 1.0) * room
    share = whole * (1.0 - sinus)
    canvas.paint("cortex", share, build.hu["cortex"] + 8.0 * canvas.smooth_field(9.0, box), box)
    canvas.paint("medulla", share * _pyramids(rng, along, bent, across, radius), build.hu["medulla"], box)
    canvas.paint("sinus", whole * sinus, build.hu["fat"] + rng.uniform(15.0, 50.0), box)
    pelvis = np.sqrt((along / (0.55 * wide)) ** 2 + ((outward + 0.66) / 0.42) ** 2 + (across / 0.24) ** 2)
    canvas.paint("pelvis", coverage(pelvis - 1.0) * room, build.urine_hu(rng.uniform(2.0, 20.0)), box)
    kidney = Kidney(side, center, axes, radii, box, share)
    paint_hilum(canvas, build, kidney.side, kidney.center_mm, axes, radii[1])
    return kidney


def _pyramids(
    rng: np.random.Generator, along: np.ndarray, bent: np.ndarray, across: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Return the share of medulla: wedges between sinus and outer cortex, separated by columns of cortex."""
    around = np.arctan2(across, bent)
    lengthwise = np.arctan2(along, bent)
    pattern = np.cos(5.0 * around + rng.uniform(0, 6.28)) * 0.6 + np.cos(7.0 * lengthwise + rng.uniform(0, 6.28)) * 0.6
    outer = np.clip((rng.uniform(0.74, 0.82) - radius) / 0.08, 0.0, 1.0)
    return outer * np.clip(0.55 + 0.9 * pattern, 0.0, 1.0)


def paint_hilum(
    canvas: Canvas, build: Build, side: float, center_mm: np.ndarray, axes: np.ndarray, radius_mm: float
) -> None:
    """Paint the renal vein, the artery and a short ureter.

    `axes`: see `Kidney`; the vessels enter at 0.6 of `radius_mm` from the center toward the midline.
    """
    up, out, _ = axes
    gate = center_mm - 0.6 * radius_mm * out
    y = build.spine_y_mm
    front = np.array([side * 26.0, y - 34.0, center_mm[2] + 4.0])
    for name, x, radius, lift in (("vein", -14.0, 4.2, 3.0), ("aorta", 9.0, 2.6, -5.0)):
        target = np.array([x, y - 30.0, center_mm[2] + 8.0 + lift])
        canvas.fill(name, canvas.tube([gate + lift * up, front + lift * up, target], radius), build.hu[name])
    down = np.array([side * 36.0, y - 20.0, center_mm[2] - 55.0])
    ureter = canvas.tube([gate - 0.5 * radius_mm * out, down, down - (0.0, 0.0, 60.0)], 2.4)
    canvas.fill("pelvis", ureter, build.urine_hu(15.0))


def paint_cysts(canvas: Canvas, kidneys: list[Kidney], difficulty: Difficulty) -> int:
    """Paint simple cysts on the kidneys, which count as kidney, and return their number."""
    rng = canvas.rng
    count = int(rng.choice(len(difficulty.cysts), p=difficulty.cysts))
    for _ in range(count):
        kidney = kidneys[int(rng.integers(len(kidneys)))]
        radius = rng.uniform(*difficulty.cyst_radius_mm)
        direction = _direction(rng, kidney)
        center = kidney.surface_mm(direction) + direction * radius * rng.uniform(-0.9, 0.2)
        hu = rng.uniform(30.0, 65.0) if rng.random() < difficulty.bright_cysts else rng.uniform(0.0, 15.0)
        canvas.fill("cyst", canvas.ellipsoid(center, radius * rng.uniform(0.9, 1.1, 3)), hu)
    return count


def _direction(rng: np.random.Generator, kidney: Kidney, poles: bool = True) -> np.ndarray:
    """Return a random direction x, y, z from the kidney's center that avoids the hilum."""
    while True:
        local = rng.standard_normal(3)
        local /= np.linalg.norm(local)
        if local[1] > -0.35 and (poles or abs(local[0]) < 0.5):
            return kidney.axes.T @ local


def paint_tumor(
    canvas: Canvas, build: Build, kidneys: list[Kidney], size_ml: float, rank: float, difficulty: Difficulty
) -> dict:
    """Paint the patient's tumor of `size_ml`, if there is room for it, and return what was drawn.

    `rank` (0..1) orders the cohort by contrast, see `Difficulty.low_contrast`. The tumor grows from the kidney's
    surface into the room that is left.
    """
    rng = canvas.rng
    kidney = kidneys[int(rng.integers(len(kidneys)))]
    for other in kidneys:
        if other is not kidney:
            canvas.take_room(other.share, other.box)
    radius = (size_ml * 1000.0 * 3.0 / (4.0 * np.pi)) ** (1 / 3)
    center = _tumor_center(canvas, kidney, radius, difficulty)

    reach = 1.7 * radius + 6.0
    box = canvas.box(center, reach)
    dx, dy, dz = canvas.offsets(center, box)
    stretch = rng.uniform(0.88, 1.14, 3)
    lumps = canvas.smooth_field(max(0.8 * radius, 7.0), box)
    distance = np.sqrt((dx / stretch[0]) ** 2 + (dy / stretch[1]) ** 2 + (dz / stretch[2]) ** 2) / radius
    distance = distance * (1.0 + 0.08 * lumps)
    room = canvas.room[box]
    free = room >= 0.5
    voxels = max(round(size_ml * 1000.0 / float(np.prod(canvas.spacing_mm))), 4)
    inside = np.sort(distance[free])
    edge = float(inside[min(voxels, len(inside) - 1)])
    share = coverage(distance - edge) * room
    if rng.random() < difficulty.halo:
        # the kidney's fat surrounds the tumor and separates it from liver and bowel
        parenchyma = np.zeros(canvas.shape_zyx, np.float32)
        parenchyma[kidney.box] = kidney.share
        halo = coverage(distance - edge - rng.uniform(*difficulty.halo_mm) / radius)
        halo *= room * (1.0 - parenchyma[box])
        canvas.paint("fat", halo, build.hu["fat"], box)

    contrast, low_contrast = difficulty.draw_contrast(rng, rank)
    hu = build.tumor_hu(contrast, DARKEST_TUMOR_HU)
    texture = rng.uniform(*difficulty.texture_hu) * canvas.smooth_field(max(0.35 * radius, 5.0), box)
    if build.look.rim_hu:
        texture += rim((edge - distance) * radius, build.look)
    canvas.paint("tumor", share, hu + texture, box)
    necrotic = bool(size_ml > 12.0 and rng.random() < 0.4)
    if necrotic:
        core = distance / edge - rng.uniform(0.45, 0.72) + 0.16 * canvas.smooth_field(max(0.5 * radius, 6.0), box)
        canvas.paint("necrosis", coverage(core) * share, rng.uniform(18.0, 38.0), box)
    label = np.zeros(canvas.shape_zyx, bool)
    label[box] = (distance < edge) & free
    side = "left" if kidney.side > 0 else "right"
    return {"side": side, "tumor_hu": float(hu), "low_contrast": low_contrast, "necrotic": necrotic, "label": label}


def _tumor_center(canvas: Canvas, kidney: Kidney, radius: float, difficulty: Difficulty) -> np.ndarray:
    """Return the first of several random places on the kidney's surface with room for the tumor, else the roomiest."""
    rng = canvas.rng
    ball = rng.standard_normal((80, 3))
    ball *= (radius * rng.random((80, 1)) ** (1 / 3)) / np.linalg.norm(ball, axis=1, keepdims=True)
    best, most = kidney.center_mm, -1.0
    for _ in range(16):
        direction = _direction(rng, kidney, poles=difficulty.tumor_at_poles)
        outside = rng.uniform(*difficulty.outside)
        center = kidney.surface_mm(direction) + direction * radius * outside
        points = (center + ball)[:, ::-1]  # z, y, x
        index = np.stack(
            [np.rint((points[:, k] - canvas.axes_mm[k][0]) / canvas.spacing_mm[k]) for k in range(3)]
        ).astype(int)
        shape = np.array(canvas.shape_zyx)[:, None]
        on_grid = ((index >= 0) & (index < shape)).all(axis=0)
        index = np.clip(index, 0, shape - 1)
        room = float((canvas.room[tuple(index)] * on_grid).mean())
        if room > most:
            best, most = center, room
        if room > 0.93:
            break
    return best
