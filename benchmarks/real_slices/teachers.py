"""Simulated patients as teachers: a network trained on none but them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.real_slices.arms import Arm
from benchmarks.real_slices.training import TEACHER_SEED, say_rounds, scores_file
from data_prep.build.builder import build
from data_prep.cache.manifest import read_manifest
from data_prep.errors import InputError
from data_prep.phantom.cohort import write_label_cohort
from data_prep.phantom.options import Variation
from data_prep.split.sets import make_split, write_split

FRACTIONS = (0.85, 0.1, 0.05)  # the simulated test patients matter little: the real slices are the test


def cohort_cache(arm: Arm, labels: str | None, known: set[str], out: Path, jobs: int) -> Path:
    """Simulate the cohort of a teacher and cache it, unless that is done; returns the cache folder, with its split.

    Label maps of the `known` patients, those of the real slices, are left out: no kidney that is tested on is learned.
    """
    assert arm.cohort is not None
    if labels is None:
        raise InputError(f"arm {arm.name}: is taught by simulated patients; give --labels DIR, a folder of label maps")
    cohort = arm.cohort
    name = f"{cohort.appearance}-{cohort.looks}x{cohort.size}-{cohort.thickness_mm:g}mm-seed{TEACHER_SEED}"
    write_label_cohort(
        out / f"patients-{name}",
        labels,
        size=cohort.size,
        seed=TEACHER_SEED,
        hard=cohort.appearance == "hard",
        jobs=jobs,
        variation=Variation(thickness_mm=cohort.thickness_mm, wild=cohort.appearance == "wild"),
        looks=cohort.looks,
        without=known,
    )
    cache = out / f"cache-{name}-{arm.grid.size}-{arm.grid.pixel_mm or 'fit'}"
    result = build(out / f"patients-{name}", cache, arm.grid, jobs)
    if result.failures:
        raise InputError(result.failures[0])
    manifest = read_manifest(cache)
    write_split(manifest, make_split(manifest, FRACTIONS))
    return cache


def teach(arm: Arm, cache: Path, run: Path, short: bool) -> None:
    """Train a teacher on its cohort into the run folder `run`, going on where it stopped; nothing if that is done."""
    from kidney_seg.progressive.driver import train

    if not scores_file(run).is_file():
        print(f"{arm.name}: {arm.why}", flush=True)
        train(cache, run, arm.config(short), TEACHER_SEED, say_rounds)
