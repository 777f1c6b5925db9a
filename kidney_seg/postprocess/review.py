"""Describe a prediction for its reader: volumes, objects, what post-processing removed, and flags for review."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from kidney_seg.postprocess.distant_objects import DISTANCE_MM, KIDNEY_ML, TOLERANCE, Component, find_kidneys
from kidney_seg.postprocess.measurements import describe_anatomy, volumes_ml

LOW_CONFIDENCE = 0.9  # mean tumor probability; in 33 held-out scans of two small models, mean Dice .16 below, .68 above
MOST_COMPONENTS = 100  # listed one by one; an untrained network makes thousands
HU_CODES = ("constant", "gray_values", "not_rescaled", "no_soft_tissue", "no_air", "hu_range")  # of data_prep.check
_SAMPLED = (64, 128, 128)  # approximate number of voxels (z, y, x) by which the image's values are checked


def describe(
    labels_before: np.ndarray,
    labels_after: np.ndarray,
    components: Sequence[Component] | None,
    spacing_mm: Sequence[float],
    hu_zyx: np.ndarray | None = None,
    tumor_confidence: float | None = None,
    distance_mm: float = DISTANCE_MM,
    kidney_ml: float = KIDNEY_ML,
) -> dict:
    """Return the contents of a label map, ready for JSON (plain numbers, no NaN); see docs/howto/postprocessing.md.

    An empty map gives volumes of 0, empty lists, and flags.

    Args:
        labels_before, labels_after: integers [z, y, x] in LPS axial order (x ascends to the patient's left), before and
            after post-processing.
        components: objects that `apply_rule` found in the former, with the same `distance_mm` and `kidney_ml`; None
            without post-processing.
        hu_zyx: the image, for the middle of the body and the check of its values.
        tumor_confidence: mean tumor probability of the voxels that are labeled tumor; None or NaN if unknown.

    Raises:
        ValueError: the shapes differ.
    """
    before, after = np.asarray(labels_before), np.asarray(labels_after)
    for name, other in (("labels_before", before), ("hu_zyx", hu_zyx)):
        if other is not None and np.shape(other) != after.shape:
            raise ValueError(f"labels_after has the shape {after.shape}, {name} {np.shape(other)}; expected one shape")
    spacing = tuple(float(mm) for mm in spacing_mm)
    found = find_kidneys(after, spacing, kidney_ml)
    voxel_ml = math.prod(spacing) / 1000.0
    described = {
        "volumes_ml": volumes_ml(after, voxel_ml),
        **describe_anatomy(after, found, spacing, hu_zyx),
        "rule": _rule(volumes_ml(before, voxel_ml), components, distance_mm, kidney_ml),
        "tumor_confidence": None if tumor_confidence is None or math.isnan(tumor_confidence) else tumor_confidence,
    }
    objects_ml: Iterable[float] = [] if found is None else found.voxels * found.voxel_ml
    if components is not None:
        objects_ml = [item.volume_ml for item in components]
    large_ml = sorted((float(ml) for ml in objects_ml if ml >= kidney_ml * (1 - TOLERANCE)), reverse=True)
    described["flags"] = [
        {"flag": flag, "what": what} for flag, what in _flags(described, large_ml, kidney_ml, hu_zyx, spacing)
    ]
    return _plain(described)


def _rule(
    before_ml: Mapping[str, float], components: Sequence[Component] | None, distance_mm: float, kidney_ml: float
) -> dict:
    if components is None:
        return {"applied": False}
    removed = [item for item in components if item.role == "removed"]
    return {
        "applied": True,
        "distance_mm": distance_mm,
        "kidney_ml": kidney_ml,
        "volumes_before_ml": dict(before_ml),
        "removed_objects": len(removed),
        "removed_ml": sum(item.volume_ml for item in removed),
        "removed_tumor_ml": sum(item.tumor_ml for item in removed),
        "components": [
            {**asdict(item), "reason": _reason(item, distance_mm, kidney_ml)} for item in components[:MOST_COMPONENTS]
        ],
        "components_not_listed": max(0, len(components) - MOST_COMPONENTS),
    }


def _reason(item: Component, distance_mm: float, kidney_ml: float) -> str:
    if item.role == "kidney":
        return f"one of the two largest objects of at least {kidney_ml:g} mL"
    if math.isnan(item.distance_mm):
        return f"no object has {kidney_ml:g} mL, so there is no kidney to measure from"
    if item.role == "kept" and item.distance_mm > distance_mm * (1 + TOLERANCE):
        return f"{item.distance_mm:.1f} mm from the nearest kidney; kept, because a single slice shows no volume"
    limit = "more than" if item.role == "removed" else "not more than"
    return f"{item.distance_mm:.1f} mm from the nearest kidney, {limit} {distance_mm:g} mm"


def _flags(
    described: Mapping,
    large_ml: Sequence[float],
    kidney_ml: float,
    hu_zyx: np.ndarray | None,
    spacing_mm: Sequence[float],
) -> Iterator[tuple[str, str]]:
    volumes, kidneys = described["volumes_ml"], described["kidneys"]
    if not any(volumes.values()):
        yield "empty", "The label map is empty."
    if not kidneys:
        yield "no_kidney", f"No kidney was found: no object has {kidney_ml:g} mL."
    if len(kidneys) == 1:
        yield "one_kidney", "One kidney was found: a solitary or a horseshoe kidney, or the other one was missed."
    for kidney in kidneys:
        if kidney["cut_by"]:
            edges = " and the ".join(kidney["cut_by"])
            yield "cut_by_edge", f"A kidney ({kidney['side']}) reaches the {edges} of the image: a part may be missing."
    if len(large_ml) > 2:
        sizes = ", ".join(f"{ml:.0f}" for ml in large_ml[:5]) + (", ..." if large_ml[5:] else "")
        what = f"{len(large_ml)} objects have {kidney_ml:g} mL or more ({sizes} mL)"
        yield "many_bodies", f"{what}: another organ may be labeled kidney."
    largest_mm = max((tumor["diameter_mm"] for tumor in described["tumors"]), default=math.nan)
    for what in _impossible(hu_zyx, spacing_mm, sum(volumes.values()), largest_mm):
        yield "impossible_size", f"Something is larger or smaller than can be: {what}."
    if volumes["tumor"] > volumes["kidney"]:
        what = f"There is more tumor ({volumes['tumor']:.1f} mL) than kidney ({volumes['kidney']:.1f} mL)"
        yield "tumor_larger_than_kidney", f"{what}: kidney or another organ may be labeled tumor."
    confidence = described["tumor_confidence"]
    if volumes["tumor"] and confidence is not None and confidence < LOW_CONFIDENCE:
        what = f"The mean probability of tumor is {confidence:.2f} where tumor was found (under {LOW_CONFIDENCE:g})"
        yield "low_tumor_confidence", f"{what}: there may be no tumor, or its outline may differ."
    if hu_zyx is not None:
        for what in _hu_problems(hu_zyx, spacing_mm):
            yield "not_hu", f"The values of the image do not look like the HU of a CT: {what}."


def _impossible(
    hu_zyx: np.ndarray | None, spacing_mm: Sequence[float], foreground_ml: float, tumor_mm: float
) -> Iterator[str]:
    from data_prep.check.image import field_problems
    from data_prep.check.labels import impossible_sizes

    if hu_zyx is not None:
        yield from (what for _, what in field_problems(hu_zyx.shape, spacing_mm))
    yield from (what for _, what in impossible_sizes(foreground_ml, tumor_mm))


def _hu_problems(hu_zyx: np.ndarray, spacing_mm: Sequence[float]) -> list[str]:
    from data_prep.check.image import image_problems, survey_image

    steps = [max(1, size // most) for size, most in zip(hu_zyx.shape, _SAMPLED, strict=True)]
    sample = np.ascontiguousarray(hu_zyx[tuple(slice(None, None, step) for step in steps)])
    sampled_mm = [mm * step for mm, step in zip(spacing_mm, steps, strict=True)]
    return [what for code, what in image_problems(survey_image(sample, sampled_mm)) if code in HU_CODES]


def summary_line(described: Mapping) -> str:
    """Return the result of `describe` in one line: kidneys, tumor, removed objects, flags."""
    kidneys = ", ".join(f"{kidney['side']} {kidney['volume_ml']:.0f} mL" for kidney in described["kidneys"])
    parts = [f"kidneys: {kidneys or 'none'}"]
    tumors = described["tumors"]
    if tumors:
        count = f"{len(tumors)} object{'s' if len(tumors) > 1 else ''}"
        largest = f"largest {tumors[0]['diameter_mm']:.0f} mm, {tumors[0]['side']}"
        parts.append(f"tumor: {described['volumes_ml']['tumor']:.1f} mL in {count} ({largest})")
    else:
        parts.append(f"tumor: {described['volumes_ml']['tumor']:.1f} mL")
    if described["rule"]["applied"] and described["rule"]["removed_objects"]:
        rule = described["rule"]
        parts.append(f"removed: {rule['removed_objects']} distant objects, {rule['removed_ml']:.1f} mL")
    if described["flags"]:
        codes = dict.fromkeys(flag["flag"] for flag in described["flags"])
        parts.append(f"review: {', '.join(codes)}")
    return "; ".join(parts)


def _plain(value: Any) -> Any:
    """Return nested lists and dicts with plain numbers of at most 3 decimals, and None for NaN and infinity."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 3) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
