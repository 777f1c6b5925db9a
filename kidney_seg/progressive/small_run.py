"""The smallest complete run, for the notebooks: fourteen simulated patients, a few minutes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kidney_seg.config.presets import PRESETS
from kidney_seg.config.run_config import Config
from kidney_seg.progressive.demo_data import simulated_cache

PATIENTS, SIZE, SLICES = (8, 2, 4), 48, 16
PIXEL_MM = 6.0  # 48 pixels show 288 mm, as in the demo
SETTINGS = (f"size={SIZE}", "starts=2", "start_steps=40", "steps=50", "max_rounds=2", "patience=3")


def small_config(*settings: str) -> Config:
    """Return the preset `demo`, smaller, with further settings such as `mode=plain`."""
    return PRESETS["demo"].with_settings([*SETTINGS, *settings])


def small_data(folder: str | Path) -> Path:
    """Simulate, build and split what is missing; returns the cache folder."""
    folder = Path(folder)
    return simulated_cache(
        folder / "patients", folder / "cache", PATIENTS, SIZE, PIXEL_MM, size=2 * SIZE, slices=SLICES
    )


def small_run(
    folder: str | Path,
    *settings: str,
    name: str = "progressive",
    log: Callable[[str], None] = print,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train in `folder`/`name` on `small_data(folder)`, or resume; returns the run folder.

    A finished run stays unchanged. `settings`: as for `small_config`; `say`: the former name of `log`.
    """
    from kidney_seg.progressive.driver import train

    run = Path(folder) / name
    train(small_data(folder), run, small_config(*settings), log=say or log)
    return run
