"""Describe a prediction for its reader: volumes, objects, what post-processing removed, and flags for review."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from data_prep.labels import KIDNEY
from kidney_seg.config.prediction import ANCHORED, DISTANCE_MM, KIDNEY_ML, PAPER, TUMOR_MM, RuleSettings
from kidney_seg.postprocess.distant_objects import Component
from kidney_seg.postprocess.kidneys import TOLERANCE, find_kidneys
from kidney_seg.postprocess.measurements import describe_anatomy, volumes_ml

LOW_CONFIDENCE = 0.9  # mean tumor probability; in 33 held-out scans of two small models, mean Dice .16 below, .68 above
MOST_COMPONENTS = 100  # listed one by one; an untrained network makes thousands
HU_CODES = ("constant", "gray_values", "not_rescaled", "no_soft_tissue", "no_air", "hu_range")  # of data_prep.check
THICK_MM = 10.0  # slices thicker than this hide most tumors; those of KiTS19 have .5 to 5 mm
PLAIN_HU = 45.0  # median of kidney; without contrast agent about 30; of 338 KiTS slices, 5 % have less than 43
UNFIT = ("not_hu", "thick_slices", "no_contrast", "no_kidney")  # flags of a scan in which a model has no business
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
    rule: str = PAPER,
    tumor_mm: float = TUMOR_MM,
) -> dict:
    """Return the contents of a label map, ready for JSON (plain numbers, no NaN); see docs/howto/postprocessing.md.

    An empty map gives volumes of 0, empty lists, and flags.

    Args:
        labels_before, labels_after: integers [z, y, x] in LPS axial order (x ascends to the patient's left), before and
            after post-processing.
        components: objects that `apply_rule` found in the former, with the same `distance_mm`, `kidney_ml`, `rule` and
            `tumor_mm`; None without post-processing.
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
    settings = RuleSettings(distance_mm, kidney_ml, rule, tumor_mm)
    found = find_kidneys(after, spacing, kidney_ml, rule)
    voxel_ml = math.prod(spacing) / 1000.0
    described = {
        "volumes_ml": volumes_ml(after, voxel_ml),
        **describe_anatomy(after, found, spacing, hu_zyx),
        "rule": _rule(volumes_ml(before, voxel_ml), components, settings),
        "tumor_confidence": None if tumor_confidence is None or math.isnan(tumor_confidence) else tumor_confidence,
    }
    objects_ml: Iterable[float] = [] if found is None else found.voxels * found.voxel_ml
    if components is not None:
        objects_ml = [item.volume_ml for item in components]
    large_ml = sorted((float(ml) for ml in objects_ml if ml >= kidney_ml * (1 - TOLERANCE)), reverse=True)
    described["flags"] = [
        {"flag": flag, "what": what} for flag, what in _flags(described, after, large_ml, settings, hu_zyx, spacing)
    ]
    return _plain(described)


def _rule(before_ml: Mapping[str, float], components: Sequence[Component] | None, settings: RuleSettings) -> dict:
    if components is None:
        return {"applied": False}
    removed = [item for item in components if item.role == "removed"]
    return {
        "applied": True,
        **settings.to_record(),
        "volumes_before_ml": dict(before_ml),
        "removed_objects": len(removed),
        "removed_ml": sum(item.volume_ml for item in removed),
        "removed_tumor_ml": sum(item.tumor_ml for item in removed),
        "components": [{**asdict(item), "reason": _reason(item, settings)} for item in components[:MOST_COMPONENTS]],
        "components_not_listed": max(0, len(components) - MOST_COMPONENTS),
    }


def _reason(item: Component, settings: RuleSettings) -> str:
    anchored, least = settings.rule == ANCHORED, _least_kidney(settings)
    if item.role == "kidney":
        if anchored and item.volume_ml - item.tumor_ml < settings.kidney_ml * (1 - TOLERANCE):
            return f"a kidney that tumor has replaced: {item.volume_ml - item.tumor_ml:.1f} mL of kidney are left"
        return f"one of the two {'objects with most kidney,' if anchored else 'largest objects'} of at least {least}"
    if math.isnan(item.distance_mm):
        return f"no object has {least}, so there is no kidney to measure from"
    with_tumor = anchored and item.tumor_ml > 0
    limit_mm = settings.tumor_mm if with_tumor else settings.distance_mm
    if item.role == "kept" and item.distance_mm > limit_mm * (1 + TOLERANCE):
        return f"{item.distance_mm:.1f} mm from the nearest kidney; kept, because a single slice shows no volume"
    limit = f"{'more than' if item.role == 'removed' else 'not more than'} {limit_mm:g} mm"
    return f"{item.distance_mm:.1f} mm from the nearest kidney, {limit}{', with tumor' * with_tumor}"


def _least_kidney(settings: RuleSettings) -> str:
    return f"{settings.kidney_ml:g} mL" + " of kidney" * (settings.rule == ANCHORED)


def _flags(
    described: Mapping,
    labels: np.ndarray,
    large_ml: Sequence[float],
    settings: RuleSettings,
    hu_zyx: np.ndarray | None,
    spacing_mm: Sequence[float],
) -> Iterator[tuple[str, str]]:
    volumes, kidneys = described["volumes_ml"], described["kidneys"]
    if not any(volumes.values()):
        yield "empty", "The label map is empty."
    if not kidneys:
        yield "no_kidney", f"No kidney was found: no object has {_least_kidney(settings)}."
    if len(kidneys) == 1:
        yield "one_kidney", "One kidney was found: a solitary or a horseshoe kidney, or the other one was missed."
    for kidney in kidneys:
        if kidney["cut_by"]:
            edges = " and the ".join(kidney["cut_by"])
            yield "cut_by_edge", f"A kidney ({kidney['side']}) reaches the {edges} of the image: a part may be missing."
    if len(large_ml) > 2:
        sizes = ", ".join(f"{ml:.0f}" for ml in large_ml[:5]) + (", ..." if large_ml[5:] else "")
        what = f"{len(large_ml)} objects have {settings.kidney_ml:g} mL or more ({sizes} mL)"
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
    if spacing_mm[0] > THICK_MM:
        yield "thick_slices", f"Slices lie {spacing_mm[0]:.1f} mm apart (over {THICK_MM:g}): small tumors are missed."
    if hu_zyx is not None:
        problems = _hu_problems(hu_zyx, spacing_mm)
        for what in problems:
            yield "not_hu", f"The values of the image do not look like the HU of a CT: {what}."
        own_hu = hu_zyx[labels == KIDNEY]
        if kidneys and len(own_hu) and not problems and (hu := float(np.median(own_hu))) < PLAIN_HU:
            what = f"The median of kidney is {hu:.0f} HU (under {PLAIN_HU:g})"
            yield "no_contrast", f"{what}: a CT without contrast agent, in which tumors cannot be told from kidney."


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


def unfit(described: Mapping) -> list[str]:
    """Return what says that the scan is none for a model of kidneys in CT with contrast agent: flags of `UNFIT`."""
    return [flag["what"] for flag in described["flags"] if flag["flag"] in UNFIT]


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
