"""One arm on one fold: cache, folds and run, each made by the project's own functions."""

from __future__ import annotations

from pathlib import Path

from benchmarks.real_slices.arms import Arm
from data_prep.build import build
from data_prep.cache import read_manifest
from data_prep.command import InputError
from data_prep.folds import make_folds, write_folds
from data_prep.grid import GridSettings

FOLDS = 5


def prepare(data: str, out: Path, grid: GridSettings) -> Path:
    """Build the cache of a grid, with its folds, unless that is done; returns the cache folder."""
    cache = cache_folder(out, grid)
    result = build(data, cache, grid)
    if result.failures:
        raise InputError(result.failures[0])
    write_folds(read_manifest(cache), make_folds(read_manifest(cache), FOLDS))
    return cache


def cache_folder(out: Path, grid: GridSettings) -> Path:
    """Return where the cache of the real slices on a grid lies."""
    return out / f"cache-{grid.size}-{grid.pixel_mm or 'fit'}"


def run_folder(arm: Arm, out: Path, fold: int, seed: int) -> Path:
    """Return where the run of an arm on a fold lies; a teacher has one for all folds."""
    return out / arm.name / (f"seed{seed}" if arm.cohort else f"fold{fold}-seed{seed}")


def train_fold(arm: Arm, cache: Path, out: Path, fold: int, seed: int, short: bool) -> None:
    """Train an arm on a fold and score its test patients, going on where it stopped; nothing if that is done.

    Its teacher, if it has one, is trained already.
    """
    from kidney_seg.progressive import train

    run = run_folder(arm, out, fold, seed)
    if (run / "evaluation" / "test" / "scores.json").is_file():
        return
    print(f"{arm.name}, fold {fold}, seed {seed}: {arm.why}", flush=True)
    pretrained = run_folder(arm.teacher, out, fold, seed) if arm.teacher else None
    split = cache / "folds" / f"fold{fold}.json"
    train(cache, run, arm.config(short), seed, say_rounds, split_file=split, pretrained=pretrained)


def say_rounds(line: str) -> None:
    """Print what a training tells of its rounds, without its epochs."""
    if line.startswith(("round", "training ends")) and "epoch" not in line:
        print(f"  {line}", flush=True)
