"""The simulated patients of the demo, and their cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data_prep.errors import InputError

DEMO = Path("runs") / "demo-data"  # where the simulated patients and their cache go
DEMO_PIXEL_MM = 4.5  # 64 pixels see 288 mm about the middle, which holds all kidneys, instead of the whole table
DEMO_PATIENTS = {"train": 30, "validation": 6, "test": 12}


def make_demo_data(size: int, say: Callable[[str], None] = print) -> Path:
    """Simulate the demo's patients, cache and split them, unless they are there already; returns the cache folder."""
    from data_prep.build.builder import build
    from data_prep.cache.manifest import read_manifest
    from data_prep.geometry.network_grid import GridSettings
    from data_prep.phantom.cohort import write_cohort
    from data_prep.split.sets import make_split, write_split

    say(f"simulated patients: {DEMO / 'patients'}")
    patients = sum(DEMO_PATIENTS.values())
    write_cohort(DEMO / "patients", cases=patients, jobs=2)
    cache = DEMO / f"cache-{size}"
    result = build(DEMO / "patients", cache, GridSettings(size, DEMO_PIXEL_MM * 64 / size))
    if result.failures:
        raise InputError(result.failures[0])
    manifest = read_manifest(cache)
    write_split(manifest, make_split(manifest, [count / patients for count in DEMO_PATIENTS.values()]))
    return cache
