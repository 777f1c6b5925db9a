"""The simulated patients of the demo and of small runs, with their caches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_prep.errors import InputError

DEMO = Path("runs") / "demo-data"
DEMO_PIXEL_MM = 4.5  # 64 pixels show the 288 mm about the middle that hold all kidneys, instead of the whole table
DEMO_PATIENTS = {"train": 30, "validation": 6, "test": 12}


def make_demo_data(size: int, log: Callable[[str], None] = print) -> Path:
    """Simulate, build and split what is missing of the demo's data; returns the cache folder."""
    log(f"simulated patients: {DEMO / 'patients'}")
    grid = size, DEMO_PIXEL_MM * 64 / size
    return simulated_cache(DEMO / "patients", DEMO / f"cache-{size}", list(DEMO_PATIENTS.values()), *grid, jobs=2)


def simulated_cache(
    patients: Path, cache: Path, counts: Sequence[int], pixels: int, pixel_mm: float, **cohort: Any
) -> Path:
    """Simulate, build and split what is missing of these folders; returns `cache`.

    `counts`: of training, validation and test patients; `cohort`: further arguments of `write_cohort`.
    """
    from data_prep.build.builder import build
    from data_prep.cache.manifest import read_manifest
    from data_prep.geometry.network_grid import GridSettings
    from data_prep.phantom.cohort import write_cohort
    from data_prep.split.sets import make_split, write_split

    total = sum(counts)
    write_cohort(patients, cases=total, **cohort)
    result = build(patients, cache, GridSettings(pixels, pixel_mm))
    if result.failures:
        raise InputError(result.failures[0])
    manifest = read_manifest(cache)
    write_split(manifest, make_split(manifest, [count / total for count in counts]))
    return cache
