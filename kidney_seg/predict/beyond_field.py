"""The flag `beyond_field`: whether the body goes on outside the field that a model sees."""

from __future__ import annotations

import numpy as np

from data_prep.geometry.components import bounding_box, connected_objects
from data_prep.geometry.network_grid import GridSettings
from data_prep.geometry.volume import Volume

BODY_HU = -300  # fat, -100, and all other tissue lie above; lung and the table's foam below
LEAST_SHARE = 0.01  # of the body's voxels
_SAMPLED = (64, 256, 256)  # about so many slices, rows and columns are looked at


def beyond_field(volume: Volume, grid: GridSettings) -> dict[str, str] | None:
    """Return the flag `beyond_field` if more than 1 % of the body lies outside the model's field, else None.

    The body is the largest object above -300 HU. A model without a fixed pixel size sees the whole image.
    """
    if grid.pixel_mm is None:
        return None
    steps = [max(1, size // most) for size, most in zip(volume.voxels.shape, _SAMPLED, strict=True)]
    body = volume.voxels[:: steps[0], :: steps[1], :: steps[2]] > BODY_HU
    if bounding_box(body) is None:
        return None
    ids, sizes, _ = connected_objects(body)
    largest = int(sizes.argmax())
    inside = np.ones(body.shape[1:], bool)
    for axis, (size, mm, step) in enumerate(
        zip(volume.voxels.shape[1:], volume.spacing_mm[1:], steps[1:], strict=True)
    ):
        centers_mm = (np.arange(size)[::step] + 0.5 - size / 2) * mm
        within = np.abs(centers_mm) <= grid.size * grid.pixel_mm / 2
        inside &= within[:, None] if axis == 0 else within[None, :]
    share = np.count_nonzero((ids == largest) & ~inside) / int(sizes[largest])
    if share <= LEAST_SHARE:
        return None
    field_mm = grid.size * grid.pixel_mm
    what = f"{share:.0%} of the body lies outside the {field_mm:.0f} mm about the middle that the model sees"
    return {"flag": "beyond_field", "what": f"{what}: what is there was not looked at."}
