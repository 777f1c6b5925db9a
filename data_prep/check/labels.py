"""Check that a label map is complete and plausible, and lies on its image's kidneys: one survey, then rules."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data_prep.check.image import FEWEST_SLICES, Problems, runs
from data_prep.check.mirrored import mirror_image
from data_prep.geometry.components import EMPTY, bounding_box, connected, connected_objects
from data_prep.geometry.label_numbers import doubtful_numbers
from data_prep.geometry.types import triple
from data_prep.labels import LARGEST_LABEL, TUMOR

BODY_ML = 20.0  # KiTS19: the second kidney has 42.7 mL or more, the third object .89 mL at most
STRAY_ML = 1.0
LARGEST_ML = 5000.0  # KiTS19: 1962 mL at most
LARGEST_MM = 400.0  # of a tumor; KiTS19: 196 mm at most
SMALLEST_ML = 80.0  # KiTS19: kidneys and tumor of a patient have 244 mL or more
GAP_MM2 = 150.0  # an area that both neighbors have and the slice between lacks
# the median under the labels: -13 to 206 in 169 real slices, 14 in a scan without contrast agent
KIDNEY_HU = (-50, 350)
NOT_TISSUE_HU = -300
NOT_TISSUE_SHARE = 0.1


@dataclass(frozen=True)
class LabelSurvey:
    """Survey of a label map [z, y, x].

    voxels: number per label 0, 1, 2, 3. bodies_ml: volumes of the 26-connected objects of kidney, tumor and cyst
    together, largest first. gaps: slices without label between labelled ones. sha256: of shape and voxels in axial
    order. median_hu, not_tissue: under the labels, None without image or label.
    """

    shape_zyx: tuple[int, int, int]
    voxel_ml: float
    voxels: tuple[int, ...]
    bodies_ml: tuple[float, ...]
    gaps: tuple[int, ...]
    sha256: str
    median_hu: float | None
    not_tissue: float | None
    mirrored: tuple[str, float, float] | None  # `mirror_image`
    doubts: tuple[str, ...]  # `doubtful_numbers`
    tumor_mm: float  # largest diagonal of a tumor's box; NaN without

    @property
    def kidney_ml(self) -> float:
        """Volume of all labels but background in mL, as KiTS19 scores kidneys."""
        return sum(self.voxels[1:]) * self.voxel_ml

    @property
    def tumor_ml(self) -> float:
        """Volume of the tumor in mL."""
        return self.voxels[TUMOR] * self.voxel_ml


def survey_labels(labels: np.ndarray, spacing_mm: Sequence[float], hu: np.ndarray | None = None) -> LabelSurvey:
    """Survey uint8 labels 0 to 3 [z, y, x], and the image `hu` of the same shape under them."""
    voxels = np.zeros(LARGEST_LABEL + 1, np.int64)
    for plane in labels:
        voxels += np.bincount(plane.ravel(), minlength=LARGEST_LABEL + 1)
    digest = hashlib.sha256(repr(labels.shape).encode())
    digest.update(np.ascontiguousarray(labels).data)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    bodies: tuple[float, ...] = ()
    gaps: tuple[int, ...] = ()
    median_hu = not_tissue = mirrored = None
    if voxels[1:].any():
        box = bounding_box(labels) or EMPTY
        inside = labels[box] > 0
        _, sizes, _ = connected_objects(inside)
        bodies = tuple(float(size) * voxel_ml for size in sorted(sizes[1:].tolist(), reverse=True))
        pixel_mm2 = float(spacing_mm[1] * spacing_mm[2])
        gaps = tuple(k + box[0].start for k in _gaps(inside, pixel_mm2))
        if hu is not None:
            under = hu[box][inside]
            median_hu, not_tissue = float(np.median(under)), float(np.mean(under < NOT_TISSUE_HU))
            mirrored = mirror_image(labels, hu)
    return LabelSurvey(
        triple(labels.shape),
        voxel_ml,
        tuple(voxels.tolist()),
        bodies,
        gaps,
        digest.hexdigest(),
        median_hu,
        not_tissue,
        mirrored,
        tuple(doubtful_numbers(labels, spacing_mm)),
        _largest_tumor_mm(labels, spacing_mm) if voxels[TUMOR] else math.nan,
    )


def _largest_tumor_mm(labels: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Return the largest diagonal of a tumor's box, which its largest diameter cannot exceed."""
    _, _, boxes = connected_objects(labels == TUMOR)
    diagonals = [
        math.hypot(*((side.stop - side.start) * mm for side, mm in zip(box, spacing_mm, strict=True)))
        for box in boxes[1:]
    ]
    return max(diagonals)


def _gaps(inside: np.ndarray, pixel_mm2: float) -> list[int]:
    """Return the slices (of the box) that lack an area which the labelled slices before and after both have."""
    labelled = np.flatnonzero(inside.any(axis=(1, 2)))
    gaps: list[int] = []
    for before, after in pairwise(labelled):
        if after - before > 1 and (inside[before] & inside[after]).sum() * pixel_mm2 >= GAP_MM2:
            gaps += range(int(before) + 1, int(after))
    for k in range(1, len(inside) - 1):
        both = inside[k - 1] & inside[k + 1]
        if k in gaps or (both & ~inside[k]).sum() * pixel_mm2 < GAP_MM2:
            continue
        # a tumor's dark center may be left out in one slice; a gap is a whole piece that is absent
        pieces, count = connected(both)
        area = np.bincount(pieces.ravel(), minlength=count + 1) * pixel_mm2
        kept = np.bincount(pieces[inside[k]], minlength=count + 1)
        if ((area >= GAP_MM2) & (kept == 0))[1:].any():
            gaps.append(k)
    return sorted(gaps)


def label_problems(survey: LabelSurvey) -> Problems:
    """Yield (code, what) per problem of a label map; of a single slice only its place on the image is checked."""
    whole = survey.shape_zyx[0] >= FEWEST_SLICES
    if survey.shape_zyx[0] > 1 and not any(survey.voxels[1:]):
        yield "empty_label", "no voxel is labelled"
        return
    yield from impossible_sizes(survey.kidney_ml, survey.tumor_mm)
    for doubt in survey.doubts:
        yield "label_numbers", doubt
    if whole:
        yield from _body_problems(survey)
    if survey.gaps:
        yield "label_gap", f"slices without labels between labelled ones: {runs(np.array(survey.gaps))}"
    if survey.mirrored:
        sides, own, other = survey.mirrored
        yield (
            "label_mirrored",
            f"the labels fit the image with {sides} exchanged: HU fall by {round(other)} over their outline then, "
            f"now by {round(own)}",
        )
    low, high = KIDNEY_HU
    if survey.median_hu is None or survey.not_tissue is None:
        return
    if not (low <= survey.median_hu <= high and survey.not_tissue <= NOT_TISSUE_SHARE):
        yield (
            "label_misplaced",
            f"the labels lie on a median of {survey.median_hu:.0f} HU, {survey.not_tissue:.0%} of them on air or lung; "
            f"expected kidney, {low} to {high} HU",
        )


def impossible_sizes(foreground_ml: float, tumor_mm: float) -> Problems:
    """Yield (code, what) where kidneys with tumors, or a tumor (NaN for none), are larger than can be."""
    if foreground_ml > LARGEST_ML:
        yield (
            "large_label",
            f"kidneys and tumors have {foreground_ml / 1000:.1f} L; expected {LARGEST_ML / 1000:g} L at most",
        )
    if tumor_mm > LARGEST_MM:
        yield "large_label", f"a tumor measures {tumor_mm / 10:.0f} cm; expected {LARGEST_MM / 10:g} cm at most"


def _body_problems(survey: LabelSurvey) -> Problems:
    if survey.voxels[TUMOR] == 0:
        yield "no_tumor", "no voxel has label 2, tumor"
    if survey.kidney_ml < SMALLEST_ML:
        yield "small_label", f"all labels together have {survey.kidney_ml:.1f} mL; KiTS19 has 244 mL or more"
    large = [ml for ml in survey.bodies_ml if ml >= BODY_ML]
    stray = [ml for ml in survey.bodies_ml if STRAY_ML <= ml < BODY_ML]
    if len(large) > 2:
        yield "many_bodies", f"{len(large)} bodies of {_listed(large)} mL; a patient has two kidneys"
    elif len(large) == 1:
        yield "one_body", f"one body of {large[0]:.0f} mL; most patients have two kidneys"
    if stray:
        yield "stray_object", f"separate objects of {_listed(stray)} mL"


def _listed(volumes_ml: list[float]) -> str:
    return ", ".join(f"{ml:.3g}" for ml in volumes_ml[:5]) + (", ..." if len(volumes_ml) > 5 else "")
