"""Whether the numbers of a label map mean what this project takes them for: by where kidneys and tumors can lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from data_prep.geometry.components import bounding_box, connected_objects
from data_prep.labels import CYST, KIDNEY, TUMOR

LOOSE_ML = 5.0  # in 126 label maps of KiTS19, no tumor of .5 mL or more lies apart from its kidney
_FEWEST_SLICES = 16  # of a scan: a slice through a tumor alone has no kidney
_REMEDY = "expected 1 kidney (left and right alike), 2 tumor, 3 cyst"


def doubtful_numbers(labels: np.ndarray, spacing_mm: Sequence[float]) -> Iterator[str]:
    """Yield what speaks against 1 kidney, 2 tumor, 3 cyst in labels uint8 [z, y, x]; nothing for an empty map.

    Left and right kidney as 1 and 2 or as 2 and 3, as other data sets have them, are found so: nothing is kidney, or a
    tumor or cyst of `LOOSE_ML` or more touches no kidney. Stacks of fewer than 16 slices are not judged.
    """
    box = bounding_box(labels)
    if box is None or len(labels) < _FEWEST_SLICES:
        return
    inside = labels[box]
    kidney = inside == KIDNEY
    if not kidney.any():
        found = " and ".join(str(label) for label in (TUMOR, CYST) if (inside == label).any())
        yield f"no voxel is kidney (1), all are {found}; {_REMEDY}"
        return
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    for label, name in ((TUMOR, "tumor"), (CYST, "cyst")):
        ids, voxels, _ = connected_objects(inside == label)
        loose = voxels * voxel_ml >= LOOSE_ML
        loose[list(_neighbors(ids, kidney))] = False
        if loose.any():
            ml = ", ".join(f"{ml:.0f}" for ml in sorted(voxels[loose] * voxel_ml, reverse=True)[:3])
            yield f"the {name} ({label}) of {ml} mL touches no kidney (1); {_REMEDY}"


def _neighbors(ids: np.ndarray, mask: np.ndarray) -> set[int]:
    """Return the numbers of the objects that share a face with a mask."""
    found: set[int] = {0}
    for axis in range(ids.ndim):
        low, high = ([slice(None)] * ids.ndim for _ in range(2))
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        for one, other in ((tuple(low), tuple(high)), (tuple(high), tuple(low))):
            found |= set(np.unique(ids[one][mask[other]]).tolist())
    return found
