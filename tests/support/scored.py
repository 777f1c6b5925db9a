"""Label files of known numbers of voxels, to be scored."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

MM = (2.0, 1.0, 0.5)  # a voxel is one microliter
SHAPE = (6, 40, 50)


def write(path: Path, labels: np.ndarray, origin=(3.0, -4.0, 5.0), spacing=MM) -> Path:
    """Write labels [z, y, x] as a file whose axes lie as KiTS has them: x and z exchanged and turned."""
    import SimpleITK as sitk

    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ascontiguousarray(labels.transpose(2, 1, 0)))
    image.SetSpacing(spacing)
    image.SetDirection((0, 0, 1, 0, 1, 0, -1, 0, 0))
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(path))
    return path


def labels(kidney=0, tumor=0, shape=SHAPE) -> np.ndarray:
    """A map whose first `kidney` voxels are 1 and whose next `tumor` voxels are 2."""
    flat = np.zeros(math.prod(shape), np.uint8)
    flat[:kidney] = 1
    flat[kidney : kidney + tumor] = 2
    return flat.reshape(shape)
