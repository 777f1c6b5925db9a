"""The smallest run that still shows what a run is: fourteen simulated patients, minutes at most. For the notebooks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kidney_seg.config.presets import PRESETS
from kidney_seg.config.run_config import Config

PATIENTS, SIZE, SLICES = 14, 48, 16
PIXEL_MM = 6.0  # 48 pixels see 288 mm about the middle, as in the demo
FRACTIONS = (8 / 14, 2 / 14, 4 / 14)
SETTINGS = (
    f"size={SIZE}", "starts=2", "start_steps=40", "steps=50", "max_rounds=2", "patience=3",
)  # fmt: skip


def small_config(*settings: str) -> Config:
    """Return the preset `demo`, shrunk, with further settings such as `mode=plain`."""
    return PRESETS["demo"].with_settings([*SETTINGS, *settings])


def small_data(folder: str | Path) -> Path:
    """Simulate, build and split what is not there yet; return the cache folder."""
    from data_prep.build.builder import build
    from data_prep.cache.manifest import read_manifest
    from data_prep.geometry.network_grid import GridSettings
    from data_prep.phantom.cohort import write_cohort
    from data_prep.split.sets import make_split, write_split

    folder = Path(folder)
    write_cohort(folder / "patients", cases=PATIENTS, size=2 * SIZE, slices=SLICES)
    build(folder / "patients", folder / "cache", GridSettings(SIZE, PIXEL_MM))
    manifest = read_manifest(folder / "cache")
    write_split(manifest, make_split(manifest, FRACTIONS))
    return folder / "cache"


def small_run(
    folder: str | Path, *settings: str, name: str = "progressive", say: Callable[[str], None] = print
) -> Path:
    """Train in `folder`/`name` on `small_data(folder)`, or go on there; return the run folder.

    A finished run is left as it is. `settings`: as for `small_config`.
    """
    from kidney_seg.progressive.driver import train

    run = Path(folder) / name
    train(small_data(folder), run, small_config(*settings), say=say)
    return run
