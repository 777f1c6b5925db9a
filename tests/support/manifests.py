"""Manifests of caches that exist on paper only."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep.cache.manifest import CacheEntry, Manifest
from data_prep.geometry.network_grid import GridSettings


def entry(name: str, tumor_ml: float | None) -> CacheEntry:
    labelled = tumor_ml is not None
    return CacheEntry(
        case=name,
        patient=name[:10],
        file=f"{name}.h5",
        sha256="0" * 64,
        slices=2,
        labelled=labelled,
        pixel_mm=1.6,
        spacing_mm=(3.0, 0.8, 0.8),
        shape_zyx=(2, 512, 512),
        image_path=f"/{name}/imaging.nii.gz",
        label_path=f"/{name}/segmentation.nii.gz" if labelled else None,
        image_sha256=name,
        label_sha256=name if labelled else None,
        kidney_ml=200.0 if labelled else None,
        tumor_ml=tumor_ml,
        pixels=((65000, 500, 36), (65536, 0, 0)) if labelled else None,
    )


def cohort(n: int, root: Path = Path("cache")) -> Manifest:
    volumes = np.random.default_rng(n).lognormal(3.4, 1.4, n)
    entries = tuple(entry(f"case_{k:05d}", float(ml)) for k, ml in enumerate(volumes))
    return Manifest(root, GridSettings(), entries, "0" * 64)
