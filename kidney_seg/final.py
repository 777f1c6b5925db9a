"""The last step of a run: the test patients, predicted at their own resolution and scored once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.cache import SOURCES, Manifest
from data_prep.command import InputError, progress
from data_prep.files import read_json
from data_prep.volume import read_labels, read_volume, write_labels
from kidney_seg import figures, metrics, scores
from kidney_seg.config import Config
from kidney_seg.engines import open_predictor
from kidney_seg.modelfile import find_source
from kidney_seg.postprocess import remove_distant_objects
from kidney_seg.run import RunFolder
from kidney_seg.whole_volume import predict_volume

PICTURES = 8  # cases on the page of overlays, from the best tumor Dice to the worst


@dataclass(frozen=True)
class HeldOut:
    """A labelled case that is scored at the resolution of its source files."""

    case: str
    patient: str
    image: Path  # a file, or the folder of a DICOM series
    labels: Path


def held_out_cases(manifest: Manifest, split: Mapping[str, Sequence[str]], part: str = "test") -> list[HeldOut]:
    """Return the labelled cases of a set. InputError if a source file is gone: better now than after hours of work.

    Only looks whether the files are there; nothing of a patient is read.
    """
    patients = set(split[part])
    cases = []
    for entry in manifest.entries:
        if not (entry.labelled and entry.patient in patients):
            continue
        if entry.image_path is None or entry.label_path is None:
            raise InputError(
                f"{manifest.root / SOURCES}: does not tell where the files of {part} case {entry.case} are; it is "
                "scored at its own resolution; bring this file along with the cache, or build the cache again"
            )
        cases.append(HeldOut(entry.case, entry.patient, Path(entry.image_path), Path(entry.label_path)))
    for case in cases:
        for path in (case.image, case.labels):
            if not path.exists():
                raise InputError(f"{path}: {part} case {case.case} was built from this, which is gone; put it back")
    return cases


def score_test(run: RunFolder, cases: Sequence[HeldOut], config: Config, say: Callable[[str], None] = print) -> dict:
    """Predict and score the test cases with the run's best model, unless that is done; print Table 1.

    Writes label volumes, `cases.csv`, `scores.json` and `overlays.png` to `evaluation/test` of the run. Scores are at
    the resolution of the source files, as they come from the network and after the paper's post-processing.
    """
    folder = run.root / "evaluation" / "test"
    best = [event for event in run.events if event["event"] == "round" and event["accepted"]][-1]
    if not run.find("tested"):
        rows, pictures = _score(run, cases, config, folder)
        details = {"best": best, "stop_on": config.rounds.stop_on}
        scores.write_scores(rows, folder, details, force=True)
        figures.save(figures.overlay_grid(pictures, config.model.hu_window), folder / "overlays.png")
        run.note("tested", cases=len(rows))
    result = read_json(folder / "scores.json", "scores of the test set")
    say("")
    say(table(result))
    say("")
    for name in ("scores.json", "cases.csv", "overlays.png"):
        say(f"{folder / name}")
    say(f"{run.root / 'progress.png'}")
    say(f"{run.root / 'best.keras'}")
    return result


def table(result: Mapping) -> str:
    """Return Table 1 of a run's `scores.json`, before and after post-processing, as lines of text."""
    count = len({row["patient"] for row in result["cases"]})
    title = f"Table 1: Dice of {count} test patients, at the resolution of their CT"
    if result["stop_on"] == "test":
        title += "\n(the rounds were chosen on these very patients, as the paper did: the figures are optimistic)"
    summary = result["summary"]
    text = scores.format_table1(summary["all"], title, summary[scores.AFTER + "all"])
    present = summary["where_present"]
    if any(present[name]["n"] < len(result["cases"]) for name in metrics.STRUCTURES):
        title = "Only the cases that hold the structure (a false alarm elsewhere counts 0 above, and not here)"
        text += "\n\n" + scores.format_table1(present, title, summary[scores.AFTER + "where_present"])
    if "detection" in result:  # not in runs of older versions
        found = result["detection"], result[scores.AFTER + "detection"]
        text += "\n\n" + scores.format_detection(found[0], "Tumors found, by their largest diameter", found[1])
    return text


def _score(
    run: RunFolder, cases: Sequence[HeldOut], config: Config, folder: Path
) -> tuple[list[dict], list[figures.Example]]:
    source, settings = find_source(run.root), config.prediction
    predictor = open_predictor([source], settings)
    rows, pictures = [], []
    for entry in progress(cases, "test patients"):
        volume, truth = read_volume(entry.image), read_labels(entry.labels)
        labels = predict_volume(predictor, volume, source.grid)
        cleaned = remove_distant_objects(labels, volume.spacing_mm, settings.distance_mm, settings.kidney_ml)
        write_labels(cleaned if settings.postprocess else labels, volume.source, folder / f"{entry.case}.nii.gz")
        row = scores.score_case(entry.case, truth.voxels, labels, volume.spacing_mm, cleaned)
        rows.append(row)
        dice = {name: row[f"{scores.AFTER}{name}_dice"] for name in metrics.STRUCTURES}
        aspect = volume.spacing_mm[1] / volume.spacing_mm[2]
        pictures.append(figures.telling_slice(volume.voxels, truth.voxels, cleaned, entry.case, dice, aspect))
    tumor = [row[scores.AFTER + "tumor_dice"] for row in rows]
    order = sorted(range(len(rows)), key=lambda index: -1 if math.isnan(tumor[index]) else tumor[index], reverse=True)
    step = max(1, len(order) / PICTURES)
    chosen = [order[int(place * step)] for place in range(min(PICTURES, len(order)))]
    return rows, [pictures[index] for index in chosen]
