"""Score the test set once, at the end of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_prep.cli import progress
from data_prep.geometry.placement import place_labels
from data_prep.volume import read_labels, read_volume, write_labels
from kidney_seg.config.run_config import Config
from kidney_seg.evaluate import case_scores
from kidney_seg.evaluate.held_out import HeldOut
from kidney_seg.evaluate.score_files import read_scores, write_scores
from kidney_seg.evaluate.tables import format_run
from kidney_seg.figures import style
from kidney_seg.figures.overlays import Example, most_informative_slice, overlay_grid
from kidney_seg.metrics.overlap import SCORED
from kidney_seg.model.model_file import find_source
from kidney_seg.postprocess.distant_objects import remove_distant_objects
from kidney_seg.predict.engines import open_predictor
from kidney_seg.predict.predictor import predict_volume
from kidney_seg.run import layout
from kidney_seg.run.folder import RunFolder
from kidney_seg.run.journal import RoundPlayed, RunStatus, Tested

CASES_SHOWN = 8  # in the picture of overlays, from the best tumor Dice to the worst


def score_test(
    run: RunFolder,
    cases: Sequence[HeldOut],
    config: Config,
    log: Callable[[str], None] = print,
    facts: Mapping[str, Any] | None = None,
) -> dict:
    """Predict and score the test cases with the run's best model, unless that is done; log Table 1.

    Writes label maps, `cases.csv`, `scores.json` and `overlays.png`. Scores are at the resolution of the source files,
    as predicted and post-processed. `facts` are added to `scores.json`, whose content is returned.
    """
    folder = run.root / layout.TEST
    if run.journal.status is not RunStatus.FINISHED:
        best = run.journal.all_of(RoundPlayed, accepted=True)[-1]
        rows, pictures = _score(run, cases, config, folder)
        write_scores(
            rows, folder, {"best": best.to_line(), "stop_on": config.rounds.stop_on, **(facts or {})}, force=True
        )
        style.save_figure(overlay_grid(pictures, config.model.hu_window), run.root / layout.OVERLAYS)
        run.journal.note(Tested(len(rows)))
    result = read_scores(run.root / layout.SCORES, "scores of the test set")
    files = (layout.SCORES, layout.TEST / "cases.csv", layout.OVERLAYS, layout.CURVES, layout.BEST_MODEL)
    for line in ("", format_run(result), "", *(str(run.root / file) for file in files)):
        log(line)
    return result


def _score(run: RunFolder, cases: Sequence[HeldOut], config: Config, folder: Path) -> tuple[list[dict], list[Example]]:
    source, settings = find_source(run.root), config.prediction
    predictor = open_predictor([source], settings)
    rows, pictures = [], []
    for entry in progress(cases, "test patients"):
        volume = read_volume(entry.image)
        truth = place_labels(read_labels(entry.labels), volume.source)
        labels = predict_volume(predictor, volume, source.grid)
        cleaned = remove_distant_objects(labels, volume.spacing_mm, **asdict(settings.rule_settings))
        write_labels(cleaned if settings.postprocess else labels, volume.source, folder / f"{entry.case}.nii.gz")
        row = case_scores.score_case(entry.case, truth.voxels, labels, volume.spacing_mm, cleaned)
        rows.append(row)
        dice = {name: row[f"{case_scores.POSTPROCESSED}{name}_dice"] for name in SCORED}
        aspect = volume.spacing_mm[1] / volume.spacing_mm[2]
        pictures.append(most_informative_slice(volume.voxels, truth.voxels, cleaned, entry.case, dice, aspect))
    tumor = [row[case_scores.POSTPROCESSED + "tumor_dice"] for row in rows]
    order = sorted(range(len(rows)), key=lambda index: -1 if math.isnan(tumor[index]) else tumor[index], reverse=True)
    step = max(1, len(order) / CASES_SHOWN)
    chosen = [order[int(place * step)] for place in range(min(CASES_SHOWN, len(order)))]
    return rows, [pictures[index] for index in chosen]
