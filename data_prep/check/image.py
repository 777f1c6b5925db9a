"""Check that an image is a complete CT scan in HU: one survey of its slices, then rules."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.geometry.types import triple

FEWEST_SLICES = 16  # KiTS19 has 29 to 1059
THUMB = 16  # pixels a side of the small slices that are compared along z
PERCENTILES = (0.5, 5.0, 50.0, 95.0, 99.5)
AIR_HU = (-1100, -500)  # air and lung; scanners fill up with less than that outside the field of view
SOFT_HU = (-200, 300)  # fat to enhanced kidney
STORED_SOFT = (824, 1324)  # fat to enhanced kidney where 1024 was not yet subtracted
FIELD_MM = (100.0, 1000.0)  # KiTS19: 224 to 533 mm
LENGTH_MM = 2500.0
SIMILAR = 0.7  # mean correlation of one part's slices with another's; whole scans stay under 0.15, two phases over 0.75
DIP = 0.2  # by how much the slices halfway between the two parts are less alike: long legs are alike all the way
SHORTEST_PHASE_MM = 40.0

Problems = Iterator[tuple[str, str]]  # code of data_prep.check.findings, what was found


@dataclass(frozen=True)
class ImageSurvey:
    """Survey of a volume [z, y, x] of HU.

    counts: int64 [65536], voxels by HU + 32768. slice_range, y_range, x_range: int16 [n, 2], least and largest value
    per plane of each axis. doubled: slices that equal the next voxel for voxel, and are not blank. thumbs: float32
    [z, 256], each slice in 16 x 16 block means of its HU clipped to -200..300. sha256: of shape and voxels in axial
    order, whatever the file's compression and axis order.
    """

    shape_zyx: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    counts: np.ndarray
    slice_range: np.ndarray
    y_range: np.ndarray
    x_range: np.ndarray
    doubled: tuple[int, ...]
    thumbs: np.ndarray
    sha256: str

    def percentile(self, percent: float) -> int:
        """Return the least HU that at least `percent` of the voxels do not exceed."""
        rank = max(1, math.ceil(percent / 100 * self.counts.sum()))
        return int(np.searchsorted(np.cumsum(self.counts), rank)) - 32768

    def share(self, low: int, high: int) -> float:
        """Return the share of voxels with low <= HU <= high."""
        return float(self.counts[low + 32768 : high + 32769].sum() / self.counts.sum())

    @property
    def hu_range(self) -> tuple[int, int]:
        """Least and largest HU."""
        return int(self.slice_range[:, 0].min()), int(self.slice_range[:, 1].max())


def survey_image(hu: np.ndarray, spacing_mm: Sequence[float]) -> ImageSurvey:
    """Survey each slice of int16 HU [z, y, x] once; needs little memory besides the volume."""
    counts = np.zeros(65536, np.int64)
    ranges = np.empty((len(hu), 2), np.int16)
    low, high = hu[0].copy(), hu[0].copy()
    thumbs = np.empty((len(hu), THUMB * THUMB), np.float32)
    doubled: list[int] = []
    for k, plane in enumerate(hu):
        counts += np.bincount(plane.ravel().astype(np.int32) + 32768, minlength=65536)
        np.minimum(low, plane, out=low)
        np.maximum(high, plane, out=high)
        ranges[k] = plane.min(), plane.max()
        thumbs[k] = _thumb(plane)
        if k and ranges[k, 0] != ranges[k, 1] and np.array_equal(plane, hu[k - 1]):
            doubled.append(k - 1)
    digest = hashlib.sha256(repr(hu.shape).encode())
    digest.update(np.ascontiguousarray(hu).data)
    return ImageSurvey(
        triple(hu.shape),
        triple(float(mm) for mm in spacing_mm),
        counts,
        ranges,
        np.stack([low.min(axis=1), high.max(axis=1)], axis=1),
        np.stack([low.min(axis=0), high.max(axis=0)], axis=1),
        tuple(doubled),
        thumbs,
        digest.hexdigest(),
    )


def _thumb(plane: np.ndarray) -> np.ndarray:
    rows, columns = (np.linspace(0, n, THUMB, endpoint=False).astype(int) for n in plane.shape)
    clipped = np.clip(plane, *SOFT_HU).astype(np.float32)
    sums = np.add.reduceat(np.add.reduceat(clipped, rows, axis=0), columns, axis=1)
    areas = np.outer(np.diff([*rows, plane.shape[0]]), np.diff([*columns, plane.shape[1]]))
    return (sums / np.maximum(areas, 1)).ravel()


def image_problems(survey: ImageSurvey) -> Problems:
    """Yield (code, what) per problem of an image."""
    yield from _size_problems(survey)
    low, high = survey.hu_range
    if low == high:
        yield "constant", f"every voxel of the image is {low}, in whole HU"
        return
    yield from _hu_problems(survey)
    yield from _slice_problems(survey)
    first, second, similarity = most_similar_part(survey.thumbs, survey.spacing_mm[0])
    if similarity >= SIMILAR:
        yield (
            "second_phase",
            f"the slices from {second} show the same as those from {first} (correlation {similarity:.2f})",
        )


def _size_problems(survey: ImageSurvey) -> Problems:
    shape, spacing = survey.shape_zyx, survey.spacing_mm
    if 1 < shape[0] < FEWEST_SLICES:
        yield "few_slices", f"{shape[0]} slices; expected {FEWEST_SLICES} or more"
    if shape[1] != shape[2]:
        yield "odd_matrix", f"slices of {shape[1]} x {shape[2]} pixels (rows x columns)"
    yield from field_problems(shape, spacing)


def field_problems(shape: Sequence[int], spacing: Sequence[float]) -> Problems:
    """Yield (code, what) if a scan of a shape (z, y, x) and spacing in mm covers less or more than a patient."""
    fields = [n * mm for n, mm in zip(shape[1:], spacing[1:], strict=True)]
    if min(fields) < FIELD_MM[0] or max(fields) > FIELD_MM[1] or shape[0] * spacing[0] > LENGTH_MM:
        size = " x ".join(f"{n * mm:.4g}" for n, mm in zip(shape, spacing, strict=True))
        edges = " x ".join(f"{mm:.4g}" for mm in spacing)
        yield (
            "field_of_view",
            f"covers {size} mm (z, y, x) with voxels of {edges} mm; expected slices of 100 to 1000 mm, "
            f"{LENGTH_MM:.0f} mm at most along z",
        )


def _hu_problems(survey: ImageSurvey) -> Problems:
    low, high = survey.hu_range
    values = f"values from {low} to {high}, median {survey.percentile(50)}"
    if low >= 0 and high <= 255:
        yield "gray_values", f"{values}: 8-bit gray values or HU clipped to a window"
    elif _as_stored(survey):
        yield "not_rescaled", f"{values}: CT as stored, without subtracting 1024"
    elif survey.share(*SOFT_HU) < 0.02:
        yield "no_soft_tissue", f"{values}: {survey.share(*SOFT_HU):.1%} of the voxels are from -200 to 300 HU"
    elif survey.share(*AIR_HU) < 0.001:
        yield "no_air", f"{values}: no air, which every CT of the body shows at -1000 HU"
    elif low < -4096 or survey.percentile(99.5) > 4096:
        yield "hu_range", f"{values}: expected about -1024 to 3071"


def _as_stored(survey: ImageSurvey) -> bool:
    # air is near 0 then, nothing but padding lies below, and most of what is above lies about 1024
    below, tissue = survey.share(-1200, -100), survey.share(*STORED_SOFT)
    return below < 0.001 and tissue >= max(0.05, 0.6 * survey.share(500, 32767))


def _slice_problems(survey: ImageSurvey) -> Problems:
    blank = np.flatnonzero(survey.slice_range[:, 0] == survey.slice_range[:, 1])
    if blank.size:
        value = survey.slice_range[blank[0], 0]
        yield "blank_slices", f"slices of one value only ({value}): {runs(blank)}"
    if survey.hu_range[0] < AIR_HU[1]:  # else the air around the patient may be a constant
        for axis, ranges in (("rows", survey.y_range), ("columns", survey.x_range)):
            flat = np.flatnonzero((ranges[:, 0] == ranges[:, 1]) & (ranges[:, 0] > AIR_HU[1]))
            if flat.size:
                yield "blank_planes", f"{axis} that are {ranges[flat[0], 0]} in every slice, not air: {runs(flat)}"
    if survey.doubled:
        yield "doubled_slices", f"slices that equal the next voxel for voxel: {runs(np.array(survey.doubled))}"


def most_similar_part(thumbs: np.ndarray, spacing_z_mm: float) -> tuple[int, int, float]:
    """Return (slice, slice, correlation): where the two most similar stretches of a scan start.

    thumbs: [z, n]. A stretch is a quarter of the slices, at least 16 and 40 mm. Each is compared with all later ones by
    the mean correlation of their slices' deviations from the mean slice, because all slices of a body resemble each
    other. (0, 0, 0.0) for scans shorter than two stretches, and if the slices halfway are about as similar.
    """
    n = len(thumbs)
    stretch = max(FEWEST_SLICES, math.ceil(SHORTEST_PHASE_MM / spacing_z_mm), n // 4)
    apart = thumbs - thumbs.mean(axis=0)
    apart -= apart.mean(axis=1, keepdims=True)
    length = np.linalg.norm(apart, axis=1, keepdims=True)
    unit = np.divide(apart, length, out=np.zeros_like(apart), where=length > 1e-3)
    pairs = unit @ unit.T
    best = (0, 0, 0.0)
    for shift in range(stretch, n - stretch + 1):
        sums = np.concatenate([[0.0], np.cumsum(np.diagonal(pairs, shift), dtype=np.float64)])
        means = (sums[stretch:] - sums[:-stretch]) / stretch
        start = int(np.argmax(means))
        halfway = np.diagonal(pairs, shift // 2)[start : start + stretch].mean()
        if means[start] > best[2] and means[start] - halfway >= DIP:
            best = (start, start + shift, float(means[start]))
    return best


def runs(indices: np.ndarray, longest: int = 6) -> str:
    """Return ascending indices as text of runs.

    >>> runs(np.array([3, 4, 5, 9]))
    '3-5, 9'
    """
    parts = np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1)
    texts = [f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts[:longest]]
    return ", ".join(texts) + (", ..." if len(parts) > longest else "")
