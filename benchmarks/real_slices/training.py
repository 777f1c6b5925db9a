"""One arm on one fold: cache, folds and run, each made by the project's own functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.real_slices.arms import Arm
from data_prep.build.builder import build
from data_prep.cache.manifest import read_manifest
from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from data_prep.split.folds import make_folds, write_folds

FOLDS = 5
TEACHER_SEED = 0


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
    """Return where the run of an arm on a fold lies; a teacher has one for all folds, members together one of all.

    Where nothing is trained, it holds predictions and scores.
    """
    if arm.cohort:
        return out / arm.name / f"seed{TEACHER_SEED}"
    which = "seeds" + "+".join(map(str, arm.members)) if arm.members else f"seed{seed}"
    return out / arm.name / f"fold{fold}-{which}"


def scores_file(run: Path, teacher: bool = False) -> Path:
    """Return where the scores of a run lie: of its fold's test patients, of a teacher those of all real slices."""
    return run / "evaluation" / ("real" if teacher else "test") / "scores.json"


def train_fold(arm: Arm, cache: Path, out: Path, fold: int, seed: int, short: bool) -> None:
    """Train an arm on a fold and score its test patients, going on where it stopped; nothing if that is done.

    Its teacher, if it has one, is trained already.
    """
    from kidney_seg.progressive.driver import train

    run = run_folder(arm, out, fold, seed)
    if scores_file(run).is_file():
        return
    print(f"{arm.name}, fold {fold}, seed {seed}: {arm.why}", flush=True)
    pretrained = run_folder(arm.teacher, out, fold, seed) if arm.teacher else None
    split = cache / "folds" / f"fold{fold}.json"
    train(cache, run, arm.config(short), seed, say_rounds, split_file=split, pretrained=pretrained)


def predict_together(arm: Arm, data: str, cache: Path, out: Path, fold: int, seed: int) -> None:
    """Score the average of an arm's networks or members, which are trained, on a fold's test patients.

    They predict as the arm's settings say. Nothing if that is done.
    """
    models = [str(run_folder(one, out, fold, number)) for number in arm.members or (seed,) for one in arm.trained]
    settings = arm.config().prediction
    how = ["--flips", settings.flips, "--zooms", ",".join(map(str, settings.zooms))]
    how += ["--odds", ",".join(map(str, settings.odds))]
    score(data, models, run_folder(arm, out, fold, seed), "--split", str(cache / "folds" / f"fold{fold}.json"), how=how)


def score(
    data: str, models: Sequence[str], run: Path, *chosen: str, how: Sequence[str] = (), teacher: bool = False
) -> None:
    """Predict cases of `data` with models, averaged, and score them, into the folder `run`; nothing if that is done.

    chosen: options of both commands that say which cases; how: of the prediction. A teacher is scored as it was
    trained: the odds of its preset are for slices of real patients.
    """
    from kidney_seg.evaluate import __main__ as evaluate
    from kidney_seg.predict import __main__ as predict

    scores, predictions = scores_file(run, teacher), str(run / "real" if teacher else run / "predictions")
    if scores.is_file():
        return
    more = [*how, *(["--odds", "1,1,1"] if teacher else [])]
    more += ["--ensemble", *models[1:]] if len(models) > 1 else []
    failed = predict.main([models[0], data, "--out", predictions, "--no-postprocess", *more, *chosen])
    if failed or evaluate.main([predictions, data, "--out", str(scores.parent), *chosen]):
        raise InputError(f"{run}: its predictions of {data} were not made or scored; see above")


def say_rounds(line: str) -> None:
    """Print what a training tells of its rounds, without its epochs."""
    if line.startswith(("round", "training ends")) and "epoch" not in line:
        print(f"  {line}", flush=True)
