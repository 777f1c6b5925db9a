"""Seconds of all scores of one case, compared with the reference code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np

from benchmarks.support.arms import Arm, in_turn
from benchmarks.support.rows import Row, speed_row
from kidney_seg.evaluate.case_scores import score_case, score_pair
from kidney_seg.metrics.overlap import KITS23_REGIONS, region_mask

SHAPE, QUICK_SHAPE = (200, 512, 512), (40, 96, 96)
SPACING_MM = (2.0, 0.78, 0.78)
WORK = (
    "the reference is DeepMind's surface-distance for the three regions of KiTS23 (Dice, surface Dice, 95 % Hausdorff, "
    "average surface distance); ours also computes KiTS19's Dice, volumes and tumors one by one; both stages: what a "
    "run does for a test patient, the prediction before and after post-processing"
)
SAME = 1e-6  # largest difference of a score
GOAL = ">= 5"


def reference() -> ModuleType:
    """Return the module surface_distance, after adding names of NumPy and SciPy that its release of 2020 expects."""
    from scipy import ndimage

    np.Inf = np.inf  # noqa: NPY201
    for name in ("filters", "morphology"):
        setattr(ndimage, name, ndimage)
    import surface_distance

    return surface_distance


def make_case(shape: tuple[int, int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels of a truth, a prediction, and the post-processed prediction: uint8 [z, y, x].

    Two kidneys with a tumor and, in the truth, a cyst; the prediction is a voxel or two off with a wavy outline, and
    has a distant false object, which post-processing removes.
    """
    rng = np.random.default_rng(seed)
    unit = [np.linspace(-1, 1, size, dtype=np.float32) for size in shape]

    def ball(z: float, y: float, x: float, radii: tuple[float, float, float], wave: np.ndarray) -> np.ndarray:
        parts = [((axis - at) / radius) ** 2 for axis, at, radius in zip(unit, (z, y, x), radii, strict=True)]
        return parts[0][:, None, None] + parts[1][:, None] + parts[2] < 1 + wave

    smooth = 0.15 * np.sin(40 * unit[0])[:, None, None] * np.sin(30 * unit[1])[:, None] * np.sin(35 * unit[2])
    maps = []
    for off, wave in ((0.0, np.float32(0)), (0.01, smooth.astype(np.float32))):
        labels = np.zeros(shape, np.uint8)
        for side in (-0.42, 0.42):
            labels[ball(off, 0.2 + off, side, (0.28, 0.14, 0.13), wave)] = 1
        labels[ball(0.1 + off, 0.2, 0.5, (0.12, 0.12, 0.12), wave)] = 2
        maps.append(labels)
    truth, cleaned = maps
    truth[ball(-0.15, 0.2, -0.5, (0.05, 0.05, 0.05), np.float32(0))] = 3
    predicted = cleaned.copy()
    predicted[ball(-0.7, -0.6, 0.0, (0.05, 0.05, 0.05), np.float32(0))] = 2
    for labels in (predicted, cleaned):  # single wrong voxels, as networks make them
        holes = rng.integers(0, shape, (200, 3)).T
        labels[tuple(holes)] = np.minimum(labels[tuple(holes)], 1)
    return truth, predicted, cleaned


def score_by_reference(truth: np.ndarray, predicted: np.ndarray, spacing_mm: tuple[float, ...]) -> dict[str, float]:
    """Return the scores of KiTS23's regions as surface-distance computes them, by our column names."""
    code = reference()
    found = {}
    for name, region in KITS23_REGIONS.items():
        true, other = region_mask(truth, region), region_mask(predicted, region)
        distances = code.compute_surface_distances(true, other, spacing_mm)
        found[f"kits23_{name}_dice"] = code.compute_dice_coefficient(true, other)
        found[f"kits23_{name}_surface_dice"] = code.compute_surface_dice_at_tolerance(distances, region.tolerance_mm)
        found[f"{name}_hd95_mm"] = code.compute_robust_hausdorff(distances, 95)
        to_predicted, to_truth = code.compute_average_surface_distance(distances)
        areas = [distances["surfel_areas_gt"].sum(), distances["surfel_areas_pred"].sum()]
        found[f"{name}_assd_mm"] = (to_predicted * areas[0] + to_truth * areas[1]) / sum(areas)
    return found


def scoring(shape: list[int], way: str) -> Callable[[], object]:
    """Return a function that scores a case of this shape: `reference`, `ours`, or ours of `both stages`."""
    truth, predicted, cleaned = make_case(tuple(shape))
    ways = {
        "reference": lambda: score_by_reference(truth, predicted, SPACING_MM),
        "ours": lambda: score_pair(truth, predicted, SPACING_MM),
        "both stages": lambda: score_case("case_00000", truth, predicted, SPACING_MM, cleaned),
    }
    return ways[way]


def rows(quick: bool) -> Iterator[Row]:
    """Yield the largest difference of a score, and cases per second of each way."""
    shape = QUICK_SHAPE if quick else SHAPE
    truth, predicted, _ = make_case(shape)
    ours, theirs = score_pair(truth, predicted, SPACING_MM), score_by_reference(truth, predicted, SPACING_MM)
    apart = max(abs(ours[key] - value) for key, value in theirs.items() if key in ours)
    del truth, predicted
    arms = {
        way: Arm("benchmarks.data.metrics:scoring", {"shape": shape, "way": way})
        for way in ("reference", "ours", "both stages")
    }
    found = in_turn(arms, 1 if quick else 3, warm_up=1)
    what = f"scores, {' x '.join(map(str, shape))} voxels"
    yield Row(f"{what}: largest difference", apart, "", goal=f"<= {SAME}")
    yardstick = ("reference", found["reference"], 1.0)
    yield speed_row(f"{what}: reference", found["reference"], 1, "cases/s")
    yield speed_row(f"{what}: ours", found["ours"], 1, "cases/s", yardstick=yardstick, goal=GOAL)
    yield speed_row(f"{what}: both stages", found["both stages"], 1, "cases/s", yardstick=yardstick)
