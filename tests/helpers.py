"""What several test modules make or ask for."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from data_prep import cache
from data_prep.grid import GridSettings

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


def write_cache(root: Path, cases: dict[str, tuple[np.ndarray, np.ndarray]]) -> cache.Manifest:
    """Write a cache of (image, label) network slices by case name, a patient a case, with voxels of 1 mm."""
    entries = []
    for name, (image, label) in cases.items():
        entries.append(
            cache.CacheEntry(
                case=name,
                patient=name,
                file=f"{name}.h5",
                sha256=cache.write_case(root / f"{name}.h5", image, label, {"case": name}),
                slices=len(image),
                labelled=True,
                pixel_mm=1.0,
                spacing_mm=(1.0, 1.0, 1.0),
                shape_zyx=image.shape,
                image_path=f"{name}/imaging.nii.gz",
                label_path=f"{name}/segmentation.nii.gz",
                image_sha256=name,
                label_sha256=name,
                kidney_ml=float((label > 0).sum() / 1000),
                tumor_ml=float((label == 2).sum() / 1000),
                pixels=tuple(map(tuple, cache.count_pixels(label).tolist())),
            )
        )
    return cache.write_manifest(root, GridSettings(image.shape[-1]), entries)
