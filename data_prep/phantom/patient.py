"""Simulate one patient: trunk, organs, kidneys and a tumor."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from data_prep.errors import InputError
from data_prep.geometry.types import triple
from data_prep.phantom.options import PLAIN, Variation, only_side, places
from data_prep.phantom.painting.appearance import Appearance, add_texture, shading
from data_prep.phantom.painting.body_size import draw_build
from data_prep.phantom.painting.canvas import TISSUES, Canvas
from data_prep.phantom.painting.kidneys import paint_cysts, paint_kidney, paint_tumor, tumor_size_ml
from data_prep.phantom.painting.torso import paint_torso

SMALLEST_SIZE, SMALLEST_SLICES = 32, 8


@dataclass(frozen=True)
class Phantom:
    """One simulated patient; arrays are [z, y, x] in LPS axial order."""

    image: np.ndarray  # int16, HU
    labels: np.ndarray  # uint8: 0 background, 1 kidney (with cysts), 2 tumor
    tissues: np.ndarray | None  # uint8, index into painting.canvas.TISSUES
    spacing_mm: tuple[float, float, float]  # z, y, x
    facts: dict  # what was drawn: sizes, enhancement, contrast; plain numbers, strings and booleans


def simulate_patient(
    index: int, seed: int = 0, size: int = 128, slices: int = 32, hard: bool = False, variation: Variation = PLAIN
) -> Phantom:
    """Return patient `index` of the cohort `seed` on `slices` x `size` x `size` voxels.

    The field of view is 333 to 486 mm, the slices cover 141 to 192 mm; `variation.thickness_mm` determines their
    number, at least 8. Each patient has both kidneys and one tumor, except for `variation`. `hard`: contrast, place,
    noise and distractors as varied as KiTS; otherwise most tumors stand out. InputError for under 32 pixels or 8
    slices.
    """
    refuse_small(size, slices)
    patient = _scan(index, seed, size, slices, hard, variation, second=False)
    if not patient.facts["second_phase"]:
        return patient
    later = _scan(index, seed, size, slices, hard, variation, second=True)
    return Phantom(
        scanned_twice(patient.image, later.image),
        scanned_twice(patient.labels, np.zeros_like(later.labels)),
        None if patient.tissues is None or later.tissues is None else scanned_twice(patient.tissues, later.tissues),
        patient.spacing_mm,
        patient.facts,
    )


def _scan(index: int, seed: int, size: int, slices: int, hard: bool, variation: Variation, *, second: bool) -> Phantom:
    difficulty = variation.difficulty(hard)
    rng = np.random.default_rng([seed, index])
    size_place, contrast_place = places(index, seed)
    build = variation.randomized(
        draw_build(rng, difficulty), difficulty, index, seed, np.random.default_rng([seed, index, 6])
    )
    if second:
        build = build.in_phase(other_phase(build.phase))
    field_mm = float(np.clip(2 * build.half_width_mm * rng.uniform(1.03, 1.13), 333.0, 486.0))
    covered_mm = rng.uniform(4.4, 6.0) * 32
    thickness_mm = covered_mm / slices
    if variation.thickness_mm is not None:
        thickness_mm, slices = variation.thickness_mm, max(SMALLEST_SLICES, round(covered_mm / variation.thickness_mm))
    spacing_mm = (thickness_mm, field_mm / size, field_mm / size)
    canvas = Canvas(rng, (slices, size, size), spacing_mm, warp_mm=rng.uniform(2.0, 4.0))
    paint_torso(canvas, build, difficulty)
    which = variation.kidneys(index, seed)
    sides = (only_side(index, seed),) if which == "single" else (-1.0, 1.0)
    kidneys = [paint_kidney(canvas, build, side) for side in sides]
    cysts = paint_cysts(canvas, kidneys, difficulty)
    target_ml = tumor_size_ml(variation.size_place(size_place), difficulty.smallest_tumor_ml)
    drawn = paint_tumor(canvas, build, kidneys, target_ml, contrast_place, difficulty)
    noise_hu = build.noise_hu(rng.uniform(*difficulty.noise_hu))
    if second:
        canvas.rng = np.random.default_rng([seed, index, 2])  # another scan: other noise
    add_texture(canvas, build.look)
    image = _with_noise(canvas, noise_hu, build.look)

    names = [TISSUES.index(name) for name in ("cortex", "medulla", "cyst")]
    labels = np.isin(canvas.tissue, names).astype(np.uint8)
    labels[drawn.pop("label")] = 2
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    facts = {
        "index": index, "seed": seed, "hard": hard, **drawn,
        "kidney_ml": float((labels == 1).sum() * voxel_ml),
        "tumor_ml": float((labels == 2).sum() * voxel_ml),
        "tumor_target_ml": target_ml, "cysts": cysts, "noise_hu": float(noise_hu), "phase": build.phase,
        "contrast_hu": float(image[labels == 1].mean() - image[labels == 2].mean()),
        "painted_hu": build.hu, "kidneys": which, "second_phase": variation.scanned_twice(index, seed),
        **({"enhancement": build.enhancement, "appearance": asdict(build.look)} if variation.wild else {}),
    }  # fmt: skip
    return Phantom(image, labels, canvas.tissue, triple(float(mm) for mm in spacing_mm), facts)


def refuse_small(size: int, slices: int = SMALLEST_SLICES) -> None:
    """Raise InputError for images too coarse to show kidneys."""
    if size < SMALLEST_SIZE or slices < SMALLEST_SLICES:
        raise InputError(
            f"phantom: {slices} slices of {size} pixels are too few for kidneys;"
            f" expected at least {SMALLEST_SLICES} slices of {SMALLEST_SIZE} pixels"
        )


def other_phase(phase: float) -> float:
    """Return the phase of a second scan: late arterial if the first is nephrographic, and vice versa."""
    return 0.0 if phase > 0.5 else 1.0


def scanned_twice(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return both scans in one array [z, y, x], as some KiTS files had them: the second below the first."""
    return np.concatenate([second, first])


def _with_noise(canvas: Canvas, noise_hu: float, look: Appearance) -> np.ndarray:
    """Return the painted HU as int16, with noise correlated between neighbors as by a scanner's filter."""
    from scipy.ndimage import gaussian_filter

    # in millimeters, so that the grain does not grow with the voxels
    sigma = [0.35, *(max(look.grain_mm / mm, 0.3) for mm in canvas.spacing_mm[1:])]
    noise = gaussian_filter(canvas.rng.standard_normal(canvas.shape_zyx, dtype=np.float32), sigma, mode="nearest")
    noise *= noise_hu / noise.std()
    texture = 2.5 * canvas.smooth_field(14.0) + shading(canvas, look)
    if look.blur_mm:
        canvas.hu = gaussian_filter(
            canvas.hu, [0.0, *(look.blur_mm / mm for mm in canvas.spacing_mm[1:])], mode="nearest"
        )
    return np.clip(np.rint(canvas.hu + noise + texture), -1024, 3071).astype(np.int16)
