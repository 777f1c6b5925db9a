"""A simulated trunk around real kidneys, and the gray values of these and their tumors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data_prep.geometry.components import EMPTY, bounding_box
from data_prep.geometry.types import Box
from data_prep.phantom.painting.appearance import add_texture, rim, shading, strands
from data_prep.phantom.painting.body_size import Build, Difficulty
from data_prep.phantom.painting.canvas import Canvas, coverage
from data_prep.phantom.painting.kidneys import paint_hilum
from data_prep.phantom.painting.label_anatomy import LabelledKidney
from data_prep.phantom.painting.torso import paint_torso

HILUM_MM = 14.0  # hollows that are closed by this belong to the sinus
CORTEX_MM = 6.5
DARKEST_TUMOR_HU = 25.0  # solid tissue without contrast agent


@dataclass(frozen=True)
class Scene:
    """Three gray values per voxel [z, y, x], float32 HU, of which the labels choose one: trunk, kidney, tumor."""

    canvas: Canvas
    kidney: np.ndarray
    tumor: np.ndarray
    facts: dict

    @property
    def background(self) -> np.ndarray:
        return self.canvas.hu


def paint_scene(
    canvas: Canvas,
    labels: np.ndarray,
    kidneys: list[LabelledKidney],
    origin_mm: np.ndarray,
    build: Build,
    difficulty: Difficulty,
    contrast_place: float,
) -> Scene:
    """Paint the trunk around `labels`, uint8 on the canvas (0, 1 kidney, 2 tumor), and the gray values of both.

    origin_mm: of the canvas, in the coordinates of `kidneys`. contrast_place (0..1): in the cohort's order of contrast.
    """
    import edt

    mask = labels > 0
    around = edt.edt(~mask, anisotropy=canvas.spacing_mm, parallel=1)
    paint_torso(canvas, build, difficulty, around)
    rng = canvas.rng
    coat = float(np.clip(0.45 * build.fat_mm + rng.uniform(-1.0, 5.0), 2.5, 16.0)) * build.look.coat
    uneven = coat * (1.0 + 0.25 * canvas.smooth_field(20.0))
    # there is always fat next to the kidney: no edge between kidney and bone
    canvas.paint(
        "fat",
        np.maximum(coverage(around - uneven) * canvas.room, coverage(around - build.look.gap_mm)),
        build.hu["fat"] + strands(canvas, build.look),
    )
    margin = [math.ceil((HILUM_MM + 6.0) / mm) for mm in canvas.spacing_mm]
    box = bounding_box(mask, margin=margin) or EMPTY
    near, spacing = mask[box], canvas.spacing_mm
    closed = edt.edt(around[box] <= HILUM_MM, anisotropy=spacing, parallel=1) > HILUM_MM
    closed |= near
    _paint_sinuses(canvas, build, kidneys, origin_mm, closed & ~near, box)
    kidney = np.full(canvas.shape_zyx, build.hu["cortex"], np.float32)
    kidney[box], cysts = _kidney_hu(
        canvas, build, difficulty, edt.edt(closed, anisotropy=spacing, parallel=1), near, box
    )
    tumor = np.zeros(canvas.shape_zyx, np.float32)
    depth = edt.edt(labels[box] == 2, anisotropy=spacing, parallel=1)
    tumor[box], drawn = _tumor_hu(canvas, build, difficulty, depth, contrast_place, box)
    uneven = 2.5 * canvas.smooth_field(14.0) + shading(canvas, build.look)
    add_texture(canvas, build.look)
    for hu in (canvas.hu, kidney, tumor):
        hu += uneven
    return Scene(canvas, kidney, tumor, {**drawn, "cysts": cysts, "phase": build.phase, "painted_hu": build.hu})


def _paint_sinuses(
    canvas: Canvas, build: Build, kidneys: list[LabelledKidney], origin_mm: np.ndarray, sinus: np.ndarray, box: Box
) -> None:
    """Fill the sinus of each kidney with fat and urine, and paint its vessels and its ureter."""
    rng = canvas.rng
    z, y, x = np.ix_(*(axis[part] for axis, part in zip(canvas.axes_mm, box, strict=True)))
    for kidney in kidneys:
        center = kidney.center_mm - origin_mm
        side = -1.0 if center[0] < 0 else 1.0
        # the hollow toward the midline of this kidney, no other one of its outline
        here = sinus & (side * (x - center[0]) < 6.0) & (np.abs(z - center[2]) < 32.0) & (side * x > 12.0)
        here &= np.abs(x - center[0]) < 45.0
        if not here.any():
            continue
        gate = np.array([float((axis * here).sum() / here.sum()) for axis in (x, y, z)])
        out = np.array([side * 0.85, 0.5, 0.0])
        axes = np.stack([np.array([0.0, 0.0, 1.0]), out / np.linalg.norm(out), np.array([0.0, 1.0, 0.0])])
        canvas.paint("sinus", here * canvas.room[box], build.hu["fat"] + rng.uniform(15.0, 50.0), box)
        paint_hilum(canvas, build, side, gate, axes, 16.0)
        for _ in range(3):
            calyx = gate + rng.normal(0.0, 1.0, 3) * (4.0, 4.0, 10.0)
            canvas.fill("pelvis", canvas.ellipsoid(calyx, (6.0, 5.0, 8.0)), build.urine_hu(rng.uniform(2.0, 20.0)))


def _kidney_hu(
    canvas: Canvas, build: Build, difficulty: Difficulty, depth_mm: np.ndarray, mask: np.ndarray, box: Box
) -> tuple[np.ndarray, int]:
    """Return the HU of kidney at each depth below the outer surface, and the number of cysts."""
    rng = canvas.rng
    cortex = build.hu["cortex"] + 8.0 * canvas.smooth_field(9.0, box)
    cortex_mm = CORTEX_MM * rng.uniform(0.8, 1.25)
    columns = np.clip(0.55 + 0.9 * canvas.smooth_field(7.5, box), 0.0, 1.0)
    medulla = np.clip((depth_mm - cortex_mm) / 2.0, 0.0, 1.0) * columns
    hu = cortex + medulla * (build.hu["medulla"] - cortex)
    if build.look.inner:
        _add_inner(canvas, build, hu, depth_mm, box)
    if "kidney" in build.look.texture_hu:
        hu += build.look.texture_hu["kidney"] * canvas.smooth_field(build.look.texture_mm, box)
    count = int(rng.choice(len(difficulty.cysts), p=difficulty.cysts))
    surface = np.argwhere(mask & (depth_mm < 2.0 * max(canvas.spacing_mm)))
    for _ in range(count):
        at = surface[int(rng.integers(len(surface)))]
        center = [canvas.axes_mm[k][box[k]][at[k]] for k in (2, 1, 0)]
        radius = rng.uniform(*difficulty.cyst_radius_mm)
        level = np.sqrt(sum(part**2 for part in canvas.offsets(center, box))) / radius - 1.0
        water = rng.uniform(30.0, 65.0) if rng.random() < difficulty.bright_cysts else rng.uniform(0.0, 15.0)
        hu += coverage(level) * (water - hu)
    return hu, count


def _add_inner(canvas: Canvas, build: Build, hu: np.ndarray, depth_mm: np.ndarray, box: Box) -> None:
    """Add to `hu` what real labels of kidneys hold inside: fat of the sinus, vessels, calyces."""
    rng, look = canvas.rng, build.look
    uneven = canvas.smooth_field(9.0, box)
    # a core of fat, urine and small vessels, mostly too fine to be resolved
    start = rng.uniform(10.0, 17.0)
    core = np.clip((depth_mm + 2.5 * uneven - start) / 7.0, 0.0, 1.0) * np.clip(0.6 + 0.8 * uneven, 0.0, 1.0)
    hu += look.inner * core * (rng.uniform(-40.0, 40.0) - hu)
    deep = np.clip((depth_mm - start + 2.0) / 4.0, 0.0, 1.0)
    fat = np.clip((canvas.smooth_field(6.0, box) - 2.1 + 0.7 * look.inner) / 0.7, 0.0, 1.0)
    hu += deep * fat * (build.hu["fat"] + rng.uniform(30.0, 80.0) - hu)
    vessel = np.clip(1.0 - np.abs(canvas.smooth_field(10.0, box)) / 0.16, 0.0, 1.0)
    hu += 0.8 * look.inner * deep * vessel * (build.hu["vein"] - hu)
    calyx = np.clip((uneven - 1.6 + 0.5 * look.inner) / 0.5, 0.0, 1.0)
    hu += deep * calyx * (build.urine_hu(rng.uniform(5.0, 20.0)) - hu)


def _tumor_hu(
    canvas: Canvas, build: Build, difficulty: Difficulty, depth_mm: np.ndarray, place: float, box: Box
) -> tuple[np.ndarray, dict]:
    """Return the HU of tumor, with texture and, in many large ones, necrosis in the middle."""
    rng = canvas.rng
    voxel_ml = float(np.prod(canvas.spacing_mm)) / 1000.0
    size_ml = np.count_nonzero(depth_mm) * voxel_ml
    radius = max((size_ml * 1000.0 * 3.0 / (4.0 * np.pi)) ** (1 / 3), 4.0)
    contrast, low_contrast = difficulty.draw_contrast(rng, place)
    base = build.tumor_hu(contrast, DARKEST_TUMOR_HU)
    texture = canvas.smooth_field(max(0.35 * radius, 5.0), box) + 0.5 * canvas.smooth_field(5.0, box)
    hu = base + rng.uniform(*difficulty.texture_hu) * texture
    necrotic = bool(size_ml > 12.0 and rng.random() < 0.4 + 0.4 * (size_ml > 150.0))
    edge = rng.uniform(0.28, 0.5) + 0.16 * canvas.smooth_field(max(0.5 * radius, 6.0), box)
    dead = rng.uniform(18.0, 38.0)
    if necrotic:
        share = np.clip((depth_mm / depth_mm.max() - edge) / 0.12, 0.0, 1.0)
        hu += share * (dead - hu)
    if build.look.rim_hu:
        hu += rim(depth_mm, build.look)
    return hu, {"tumor_hu": float(base), "low_contrast": low_contrast, "necrotic": necrotic}
