"""What a reader should know of a prediction: volumes, objects, what the rule did, and flags for review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kidney_seg.postprocess import DISTANCE_MM, KIDNEY_ML, Component


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
    """Return what is in a label map, ready for JSON: `volumes_ml`, `kidneys`, `tumors`, `rule`, `flags`.

    labels_before, labels_after: integers [z, y, x] in axial order, before and after the rule; components: what
    `postprocess.apply_rule` says of the objects, None where the rule was not applied; hu_zyx: the image, for the check
    of its values; tumor_confidence: mean probability of tumor over the voxels that are called tumor.
    """
    raise NotImplementedError


def summary_line(described: Mapping) -> str:
    """Return one line for the screen of what `describe` gave."""
    raise NotImplementedError
