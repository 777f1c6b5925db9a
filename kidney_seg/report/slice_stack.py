"""A case's slices to leaf through, small enough for a page: JPEG and outlines of truth and prediction."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from data_prep.geometry.components import bounding_box
from kidney_seg.figures.style import windowed
from kidney_seg.metrics.overlap import tumor_mask

MARGIN_MM = 20.0
LARGEST_PX = 176  # of the longer side of a picture
QUALITY = 60  # of the JPEG, 1 to 95


def draw_slice_stack(
    image_hu: np.ndarray, labels: Mapping[str, np.ndarray], spacing_mm: Sequence[float], most: int
) -> dict[str, Any]:
    """Return up to `most` slices from the first labelled one to the last, evenly spread, as JSON values.

    image_hu and each of `labels`, by name ("truth", "prediction"), are [z, y, x]; spacing (z, y, x) in mm. All slices
    are cut to one box around all labels; without labels the whole image is shown. Returns `width` and `height` in
    pixels, `ratio` of width to height in mm, `of`, the number of slices in the image, and `slices`: `z` from 1, `jpeg`
    as base64, and `paths` by name and structure, in half pixels.
    """
    from PIL import Image

    margin = [0, *(round(MARGIN_MM / mm) for mm in spacing_mm[1:])]
    box = bounding_box(*labels.values(), margin=margin)
    whole = tuple(slice(0, size) for size in image_hu.shape)
    rows, columns = (box or whole)[1:]
    first, last = ((box or whole)[0].start, (box or whole)[0].stop - 1)
    chosen = np.unique(np.rint(np.linspace(first, last, max(1, min(most, last - first + 1)))).astype(int))
    height, width = rows.stop - rows.start, columns.stop - columns.start
    size_mm = height * spacing_mm[1], width * spacing_mm[2]
    scale = min(1.0, LARGEST_PX / max(height, width))
    shown = max(1, round(width * scale)), max(1, round(height * scale))
    slices = []
    for z in chosen.tolist():
        gray = np.round(255 * windowed(image_hu[z, rows, columns])).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(gray).resize(shown, Image.Resampling.BOX).save(file, "JPEG", quality=QUALITY)
        paths = {}
        for name, values in labels.items():
            here = Image.fromarray(values[z, rows, columns].astype(np.uint8)).resize(shown, Image.Resampling.NEAREST)
            own = np.asarray(here)
            for structure, mask in (("kidney", own > 0), ("tumor", tumor_mask(own))):
                if mask.any():
                    paths[f"{name} {structure}"] = short_outline(mask)
        slices.append({"z": z + 1, "jpeg": base64.b64encode(file.getvalue()).decode(), "paths": paths})
    ratio = round(size_mm[1] / size_mm[0], 4)
    return {"width": shown[0], "height": shown[1], "ratio": ratio, "of": len(image_hu), "slices": slices}


def short_outline(mask: np.ndarray) -> str:
    """Return the outline of a boolean mask [y, x] as an SVG path of whole numbers, in half pixels.

    >>> short_outline(np.ones((1, 1), bool))
    'M0 1l1 -1 1 1 -1 1z'
    """
    from contourpy import contour_generator

    contours = contour_generator(z=np.pad(mask, 1).astype(np.float64)).lines(0.5)
    lines = cast(list[np.ndarray], contours)  # their type with the default `line_type`
    parts = []
    for line in lines:
        points = np.rint(2 * line - 1).astype(int)  # the padding is one pixel, a pixel's center lies at one half
        steps = np.diff(points, axis=0)
        turns = np.r_[True, (steps[1:] != steps[:-1]).any(axis=1)]  # equal steps are joined
        starts = np.flatnonzero(turns)
        joined = np.add.reduceat(steps, starts, axis=0)[:-1]  # z closes the last
        parts.append(f"M{points[0][0]} {points[0][1]}l" + " ".join(f"{x} {y}" for x, y in joined) + "z")
    return "".join(parts)
