"""One arm on one fold: cache, folds, teacher and run, each made by the project's own functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.real_slices.arms import Arm, CohortSettings
from data_prep.build.builder import build
from data_prep.cache.manifest import read_manifest
from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from data_prep.phantom.cohort import write_cohort, write_label_cohort
from data_prep.phantom.options import Variation
from data_prep.split.folds import make_folds, write_folds
from data_prep.split.sets import make_split, write_split
from kidney_seg.run import layout

FOLDS = 5
TEACHER_SEED = 0
FRACTIONS = (0.85, 0.1, 0.05)  # sets of a teacher; few simulated test patients, since the real slices are the test


def prepare(data: str, out: Path, grid: GridSettings) -> Path:
    """Build what is missing of a grid's cache and folds; returns the cache folder."""
    cache = build_cache(data, out, grid)
    write_folds(read_manifest(cache), make_folds(read_manifest(cache), FOLDS))
    return cache


def cohort_cache(arm: Arm, labels: str | None, known: set[str], out: Path, jobs: int) -> Path:
    """Simulate, build and split what is missing of a teacher's cohort; returns the cache folder.

    It excludes the label maps of the `known` patients, those of the real slices: no tested kidney is learned.
    """
    assert arm.cohort is not None
    patients = write_patients(arm.cohort, f"arm {arm.name}", labels, known, out, jobs)
    folder = out / f"cache-{patients.name.removeprefix('patients-')}-{arm.grid.size}-{arm.grid.pixel_mm or 'fit'}"
    cache = _build(patients, folder, arm.grid, jobs)
    write_split(read_manifest(cache), make_split(read_manifest(cache), FRACTIONS))
    return cache


def write_patients(cohort: CohortSettings, who: str, labels: str | None, known: set[str], out: Path, jobs: int) -> Path:
    """Simulate what is missing of a cohort; returns its folder. InputError if it needs label maps and has none.

    who: needs it, for the message. labels, known: see `cohort_cache`; a cohort of `cases` needs neither.
    """
    hard = cohort.appearance == "hard"
    variation = Variation(thickness_mm=cohort.thickness_mm, wild=cohort.appearance == "wild")
    name = f"{cohort.appearance}-{cohort.looks}x{cohort.size}-{cohort.thickness_mm:g}mm-seed{TEACHER_SEED}"
    if cohort.cases:
        folder = out / f"patients-{cohort.cases}-{name}"
        write_cohort(folder, cohort.cases, cohort.size, seed=TEACHER_SEED, hard=hard, jobs=jobs, variation=variation)
        return folder
    if labels is None:
        raise InputError(f"{who}: needs simulated patients; give --labels DIR, a folder of label maps")
    folder = out / f"patients-{name}"
    more: dict[str, Any] = {"looks": cohort.looks, "without": known, "variation": variation}
    write_label_cohort(folder, labels, size=cohort.size, seed=TEACHER_SEED, hard=hard, jobs=jobs, **more)
    return folder


def _build(data: str | Path, cache: Path, grid: GridSettings, jobs: int = 1) -> Path:
    result = build(data, cache, grid, jobs)
    if result.failures:
        raise InputError(result.failures[0])
    return cache


def build_cache(data: str, out: Path, grid: GridSettings) -> Path:
    """Build what is missing of a grid's cache of `data`; returns the cache folder."""
    return _build(data, cache_folder(out, grid), grid)


def cache_folder(out: Path, grid: GridSettings) -> Path:
    """Return the cache folder of the real slices on a grid."""
    return out / f"cache-{grid.size}-{grid.pixel_mm or 'fit'}"


def run_folder(arm: Arm, out: Path, fold: int, seed: int) -> Path:
    """Return the run folder of an arm on a fold: one for all folds of a teacher, one for all members together.

    An arm that trains nothing has predictions and scores there.
    """
    if arm.cohort:
        return out / arm.name / f"seed{TEACHER_SEED}"
    which = "seeds" + "+".join(map(str, arm.members)) if arm.members else f"seed{seed}"
    return out / arm.name / f"fold{fold}-{which}"


def scores_file(run: Path, teacher: bool = False) -> Path:
    """Return the scores of a run: of its fold's test patients; of a teacher, those of all real slices."""
    return run / "evaluation" / "real" / "scores.json" if teacher else run / layout.SCORES


def train_arm(
    arm: Arm, cache: Path, out: Path, fold: int, seed: int, short: bool, split_file: Path | None = None
) -> None:
    """Train an arm on a fold, or a teacher on its cohort, and score its test patients; resumes, or skips what is done.

    The arm's own teacher is trained already. split_file: the fold's, if it is not that of the cache.
    """
    from kidney_seg.progressive.driver import train

    run = run_folder(arm, out, fold, seed)
    if scores_file(run).is_file():
        return
    print(f"{arm.name}{'' if arm.cohort else f', fold {fold}, seed {seed}'}: {arm.why}", flush=True)
    pretrained = run_folder(arm.teacher, out, fold, seed) if arm.teacher else None
    split = None if arm.cohort else split_file or cache / "folds" / f"fold{fold}.json"
    train(cache, run, arm.config(short), seed, log_rounds, split_file=split, pretrained=pretrained)


def predict_together(arm: Arm, data: str, cache: Path, out: Path, fold: int, seed: int) -> None:
    """Score the average of an arm's trained networks or members on a fold's test patients; skips what is done."""
    models = [str(run_folder(one, out, fold, number)) for number in arm.members or (seed,) for one in arm.trained]
    settings = arm.config().prediction
    how = ["--flips", settings.flips, "--zooms", ",".join(map(str, settings.zooms))]
    how += ["--odds", ",".join(map(str, settings.odds))]
    score(data, models, run_folder(arm, out, fold, seed), "--split", str(cache / "folds" / f"fold{fold}.json"), how=how)


def score(
    data: str, models: Sequence[str], run: Path, *chosen: str, how: Sequence[str] = (), teacher: bool = False
) -> None:
    """Predict cases of `data` with models, averaged, and score them, into the folder `run`; skips what is done.

    chosen: options of both commands that select the cases; how: of the prediction. A teacher is scored as it was
    trained: the class odds of its preset are for slices of real patients.
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
        raise InputError(f"{run}: its predictions of {data} were not made or scored; see the messages before")


def log_rounds(line: str) -> None:
    """Print the lines of a training about its rounds, without its epochs."""
    if line.startswith(("round", "training ends")) and "epoch" not in line:
        print(f"  {line}", flush=True)
