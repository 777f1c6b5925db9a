"""Simulate a CT scan around the kidneys and tumors of a real label map."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from data_prep.geometry.types import triple
from data_prep.labels import KIDNEY, TUMOR, cysts_to_kidney
from data_prep.phantom.options import PLAIN, Variation, order_of, places
from data_prep.phantom.painting.body_size import Build, draw_build
from data_prep.phantom.painting.canvas import Canvas
from data_prep.phantom.painting.label_anatomy import (
    find_labelled_kidneys,
    find_spine,
    fit_build,
    shadow_mm,
    without_healthy_kidney,
)
from data_prep.phantom.painting.rendering import Target, render
from data_prep.phantom.painting.scene import Scene, paint_scene
from data_prep.phantom.patient import Phantom, other_phase, scanned_twice

# Share of the default cohort's contrast agent (mean, deviation), fitted by hand to the medians of kidney and tumor in
# real slices, see docs/howto/simulated_patients.md: their agreement is no test.
HARD_ENHANCEMENT = (0.6, 0.27)


def simulate_around(
    labels: np.ndarray,
    spacing_mm: tuple[float, float, float],
    index: int,
    seed: int = 0,
    size: int | None = None,
    hard: bool = False,
    variation: Variation = PLAIN,
    name: str = "this label map",
    look: int | None = None,
) -> Phantom:
    """Return a patient with the kidneys and tumors of `labels`; all else is simulated around them.

    Takes about 2 GB for a thousand slices of 512 x 512.

    Args:
        labels: uint8 [z, y, x] in LPS axial order; cysts are kidney.
        spacing_mm: of the labels; the image has the same grid, except for `size` and `variation.thickness_mm`.
        index: of the patient; with `seed`, `look` and the settings it determines all that is drawn.
        seed: of the cohort.
        size: pixels per side of the image over the whole field of view; each gets the label that covers most of it.
        hard: contrast, noise and distractors as varied as KiTS.
        variation: further options; `thickness_mm` merges slices by the same rule, and drops the remainder at the feet.
        name: of the label map, for errors.
        look: which of several appearances of this label map; None for the only one.

    Returns:
        The patient; `Phantom.tissues` is None.

    Raises:
        InputError: the map has no kidney (also on coarse pixels) or too few slices, or `size` is not a multiple of 16.
    """
    settings = None if size is None else GridSettings(size)
    merged = max(1, round((variation.thickness_mm or 0.0) / spacing_mm[0]))
    if len(labels) // merged < 2:
        raise InputError(
            f"{name}: has {len(labels)} slices of {spacing_mm[0]:g} mm, {len(labels) // merged} of"
            f" {merged * spacing_mm[0]:g} mm; expected at least two, choose a smaller thickness"
        )
    labels = labels[len(labels) % merged :]
    labels = cysts_to_kidney(labels)
    order = order_of(index, look)

    def stream(which: int) -> np.random.Generator:
        # one more than the look: a 0 at the end would be the stream without it
        return np.random.default_rng([seed, index, which] if look is None else [seed, index, which, look + 1])

    rng = stream(1)
    kidneys = find_labelled_kidneys(labels, spacing_mm)
    if not kidneys:
        raise InputError(f"{name}: has no kidney (label 1) of 10 mL or more; remove it from the folder")
    spine = find_spine(shadow_mm(labels, spacing_mm), kidneys)
    which = "as labelled"
    if variation.kidneys(order, seed) == "single" and (single := without_healthy_kidney(labels, kidneys)) is not None:
        which, labels, kidneys = "single", single, [kidney for kidney in kidneys if kidney.tumor_ml > 0]

    difficulty = variation.difficulty(hard)
    shadow = shadow_mm(labels, spacing_mm)
    field_mm = max(n * mm for n, mm in zip(labels.shape[1:], spacing_mm[1:], strict=True))
    build = fit_build(rng, draw_build(rng, difficulty), shadow, spine, field_mm)
    if hard:
        build = build.enhanced(float(np.clip(rng.normal(*HARD_ENHANCEMENT), 0.1, 1.2)))
    build = variation.randomized(build, difficulty, order, seed, stream(6))
    noise_hu = build.noise_hu(float(rng.uniform(*difficulty.noise_hu)))
    target = Target(labels, spacing_mm, merged, settings)
    origin = np.array([spine[0], spine[1] - build.spine_y_mm, np.mean([kidney.center_mm[2] for kidney in kidneys])])
    canvas_labels = target.canvas_labels()
    if not canvas_labels.any():
        raise InputError(f"{name}: at {target.spacing_mm[1]:.1f} mm per pixel no kidney is left; choose a larger size")

    def scan(build: Build, which: int) -> tuple[np.ndarray, Scene]:
        own = stream(2)  # the same for both phases: the same patient
        canvas = Canvas(own, target.canvas_shape_zyx, target.canvas_spacing_mm, own.uniform(2.0, 4.0), origin)
        scene = paint_scene(canvas, canvas_labels, kidneys, origin, build, difficulty, places(order, seed)[1])
        return render(scene, target, noise_hu, stream(3 + which), build.look), scene

    image, scene = scan(build, 0)
    shown = target.image_labels()
    voxel_ml = float(np.prod(target.spacing_mm)) / 1000.0
    both = {value: shown == value for value in (KIDNEY, TUMOR)}
    mean = {value: float(image[mask].mean()) for value, mask in both.items() if mask.any()}
    facts = {
        "index": index, "seed": seed, "hard": hard, **scene.facts, "noise_hu": noise_hu,
        "kidney_ml": float(np.count_nonzero(both[KIDNEY]) * voxel_ml),
        "tumor_ml": float(np.count_nonzero(both[TUMOR]) * voxel_ml),
        "contrast_hu": mean[KIDNEY] - mean[TUMOR] if len(mean) == 2 else None,
        "enhancement": build.enhancement, "kidneys": which,
        "second_phase": variation.scanned_twice(order, seed),
        **({} if look is None else {"look": look}),
        **({"appearance": asdict(build.look)} if variation.wild else {}),
    }  # fmt: skip
    if facts["second_phase"]:
        later, _ = scan(build.in_phase(other_phase(build.phase)), 1)
        image, shown = scanned_twice(image, later), scanned_twice(shown, np.zeros_like(shown))
    return Phantom(image, shown, None, triple(float(mm) for mm in target.spacing_mm), facts)
