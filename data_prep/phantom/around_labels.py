"""CT simulated around a real label map: the kidneys and tumors of a patient, everything else invented."""

from __future__ import annotations

import numpy as np

from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from data_prep.geometry.types import triple
from data_prep.labels import CYST
from data_prep.phantom.options import PLAIN, Variation, order_of, places
from data_prep.phantom.painting.canvas import Canvas
from data_prep.phantom.painting.habitus import Build, draw_build
from data_prep.phantom.painting.label_anatomy import (
    Body,
    find_bodies,
    find_spine,
    fit_build,
    shadow_mm,
    with_isthmus,
    without_healthy_kidney,
)
from data_prep.phantom.painting.rendering import Target, render
from data_prep.phantom.painting.scene import Scene, paint_scene
from data_prep.phantom.patient import Phantom, other_phase, scanned_twice

# Share of the plain cohort's contrast agent (mean, deviation), fitted by hand to the medians of kidney and tumor in
# real slices: that they agree is no check, see docs/howto/simulated_patients.md.
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
    """Return a patient with the kidneys and tumors of `labels`, uint8 [z, y, x] in LPS axial order; cysts are kidney.

    The image lies on the labels' own grid. `size`: on that many square pixels, the whole field of view, instead;
    each gets the label that covers most of it. `variation.thickness_mm`: as many slices as are about that thick
    together become one, by the same rule; what is left over goes at the feet. `variation.small` has no meaning
    here. look: which of several patients around these labels, each drawn on its own; None: the only one.
    All follows from labels, (seed, index, look) and settings. `Phantom.tissues` is None. InputError, with `name`,
    for a map without a kidney (on coarse pixels, too), with too few slices, or for a size that is not a multiple
    of 16. About 2 GB for a thousand slices of 512 x 512.
    """
    settings = None if size is None else GridSettings(size)
    merged = max(1, round((variation.thickness_mm or 0.0) / spacing_mm[0]))
    if len(labels) // merged < 2:
        raise InputError(
            f"{name}: has {len(labels)} slices of {spacing_mm[0]:g} mm, {len(labels) // merged} of"
            f" {merged * spacing_mm[0]:g} mm; expected two at least, choose a smaller thickness"
        )
    labels = labels[len(labels) % merged :]
    if labels.max(initial=0) == CYST:
        labels = np.where(labels == CYST, np.uint8(1), labels)
    order = order_of(index, look)

    def stream(which: int) -> np.random.Generator:
        # one more than the look: a 0 at the end would be the stream without it
        return np.random.default_rng([seed, index, which] if look is None else [seed, index, which, look + 1])

    rng = stream(1)
    bodies = find_bodies(labels, spacing_mm)
    if not bodies:
        raise InputError(f"{name}: has no kidney (label 1) of 10 mL or more; leave it out of the folder")
    spine = find_spine(shadow_mm(labels, spacing_mm), bodies)
    kidneys, labels, bodies = _with_other_kidneys(
        labels, spacing_mm, bodies, spine, variation.kidneys(order, seed), rng
    )

    difficulty = variation.difficulty(hard)
    shadow = shadow_mm(labels, spacing_mm)
    field_mm = max(n * mm for n, mm in zip(labels.shape[1:], spacing_mm[1:], strict=True))
    build = fit_build(rng, draw_build(rng, difficulty), shadow, spine, field_mm)
    if hard:
        build = build.enhanced(float(np.clip(rng.normal(*HARD_ENHANCEMENT), 0.1, 1.2)))
    build = variation.dressed(build, difficulty, order, seed, stream(6))
    noise_hu = build.noise_hu(float(rng.uniform(*difficulty.noise_hu)))
    target = Target(labels, spacing_mm, merged, settings)
    origin = np.array([spine[0], spine[1] - build.spine_y_mm, np.mean([body.center_mm[2] for body in bodies])])
    canvas_labels = target.canvas_labels()
    if not canvas_labels.any():
        raise InputError(f"{name}: at {target.spacing_mm[1]:.1f} mm a pixel no kidney is left; choose a larger size")

    def scan(build: Build, which: int) -> tuple[np.ndarray, Scene]:
        own = stream(2)  # the same for both phases: the same patient
        canvas = Canvas(own, target.canvas_shape_zyx, target.canvas_spacing_mm, own.uniform(2.0, 4.0), origin)
        scene = paint_scene(canvas, canvas_labels, bodies, origin, build, difficulty, places(order, seed)[1])
        return render(scene, target, noise_hu, stream(3 + which), build.look), scene

    image, scene = scan(build, 0)
    shown = target.image_labels()
    voxel_ml = float(np.prod(target.spacing_mm)) / 1000.0
    both = {value: shown == value for value in (1, 2)}
    mean = {value: float(image[mask].mean()) for value, mask in both.items() if mask.any()}
    facts = {
        "index": index, "seed": seed, "hard": hard, **scene.facts, "noise_hu": noise_hu,
        "kidney_ml": float(np.count_nonzero(both[1]) * voxel_ml),
        "tumor_ml": float(np.count_nonzero(both[2]) * voxel_ml),
        "contrast_hu": mean[1] - mean[2] if len(mean) == 2 else None,
        "enhancement": build.enhancement, "kidneys": kidneys,
        "second_phase": variation.scanned_twice(order, seed),
        **({} if look is None else {"look": look}),
        **({"appearance": build.look.record()} if variation.wild else {}),
    }  # fmt: skip
    if facts["second_phase"]:
        later, _ = scan(build.in_phase(other_phase(build.phase)), 1)
        image, shown = scanned_twice(image, later), scanned_twice(shown, np.zeros_like(shown))
    return Phantom(image, shown, None, triple(float(mm) for mm in target.spacing_mm), facts)


def _with_other_kidneys(
    labels: np.ndarray,
    spacing_mm: tuple[float, float, float],
    bodies: list[Body],
    spine_mm: tuple[float, float],
    asked: str,
    rng: np.random.Generator,
) -> tuple[str, np.ndarray, list[Body]]:
    """Return which kidneys there are now, the labels and the bodies; as they were, where the map does not allow it."""
    changed = None
    if asked == "single":
        changed = without_healthy_kidney(labels, bodies)
    elif asked == "horseshoe":
        changed = with_isthmus(labels, spacing_mm, bodies, spine_mm, rng)
    if changed is None:
        return "as labelled", labels, bodies
    if asked == "single":
        return asked, changed, [body for body in bodies if body.tumor_ml > 0]
    return asked, changed, bodies
