"""What several test modules make or ask for."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

KITS_AFFINE = np.array([[0, 0, -0.8, 0], [0, -0.8, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1]])


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = KITS_AFFINE) -> Path:
    """Write a NIfTI file by another library than the project's own."""
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def one_line(caught: pytest.ExceptionInfo) -> str:
    """Return the text of a caught error, which must be one line."""
    text = str(caught.value)
    assert "\n" not in text
    return text
