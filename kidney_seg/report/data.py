"""The content of a report, read from a run folder or from the folder of an evaluation; no pictures, no HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from kidney_seg.config.run_config import Config
from kidney_seg.evaluate.case_scores import POSTPROCESSED, STAGES
from kidney_seg.evaluate.score_files import read_scores
from kidney_seg.evaluate.summary import detection_rate, table1
from kidney_seg.metrics.lesion_detection import size_class
from kidney_seg.metrics.overlap import AVERAGE
from kidney_seg.metrics.overlap import STRUCTURES as MEASURED
from kidney_seg.report.facts import facts_of_evaluation, facts_of_run
from kidney_seg.run import layout

STRUCTURES = (*MEASURED, AVERAGE)
FURTHER = {  # columns of scores.json beside Table 1, with their headings
    "kits23_kidney_dice": "Dice, kidney and masses",
    "kits23_masses_dice": "Dice, masses",
    "kits23_tumor_dice": "Dice, tumor",
    "kits23_kidney_surface_dice": "Surface Dice, kidney and masses",
    "kits23_masses_surface_dice": "Surface Dice, masses",
    "kits23_tumor_surface_dice": "Surface Dice, tumor",
    "kidney_hd95_mm": "95 % Hausdorff distance, kidney, mm",
    "tumor_hd95_mm": "95 % Hausdorff distance, tumor, mm",
    "kidney_assd_mm": "Average surface distance, kidney, mm",
    "tumor_assd_mm": "Average surface distance, tumor, mm",
}


@dataclass(frozen=True)
class Files:
    """The files of one case; None for each that is unknown."""

    image: Path | None
    truth: Path | None
    prediction: Path | None


@dataclass(frozen=True)
class Line:
    """One line of Table 1: `cells` by structure have mean, median, low, high, n and left_out; None for no score."""

    name: str
    cells: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class ReportData:
    """The content of a report.

    cases: rows of `scores.json` whose plain names hold the scores of the report, post-processed ones if the predictions
    are; also `kidney` and `tumor` (Dice) and `diameter_mm` of the largest tumor. further: heading and cell of scores
    beside Table 1. detection: rows for `score_plots.detection_by_size`, of single tumors if `detection_by_tumor`, else
    of cases; false_tumors: `false_per_patient`, `low`, `high`, and the definition of found. diameter_is_measured: False
    if it is that of a ball with the tumor's volume.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    table1: tuple[Line, ...]
    cases: tuple[dict[str, Any], ...]
    further: tuple[tuple[str, Mapping[str, Any]], ...]
    detection: tuple[dict[str, Any], ...]
    detection_by_tumor: bool
    false_tumors: Mapping[str, Any]
    diameter_is_measured: bool
    warnings: tuple[str, ...] = ()
    history: tuple[dict, ...] = ()
    rounds: tuple[dict, ...] = ()
    files: Mapping[str, Files] = field(default_factory=dict)


def gather(folder: str | Path, truth: str | Path | None = None, predictions: str | Path | None = None) -> ReportData:
    """Read the content of a report.

    Args:
        folder: of a finished run, whose cache knows the scans, or with the `scores.json` of evaluate.
        truth: of an evaluation, for the pictures: folder of case folders with images and labels.
        predictions: of an evaluation, for the pictures: label files (default: the folder above `folder`).

    Raises:
        InputError: the folder is neither, the run is not finished, or its files lack something.
    """
    folder = Path(folder)
    try:
        if (folder / layout.CONFIG).is_file():
            return _of_run(folder)
        if (folder / "scores.json").is_file():
            return _of_evaluation(folder, truth, predictions)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"its files lack something that a report needs ({error!r}); score the predictions again", path=folder
        ) from None
    raise InputError(
        "is neither a run folder (config.json) nor the folder of an evaluation (scores.json); give the --out of a "
        "training or of python -m kidney_seg.evaluate",
        path=folder,
    )


def _of_run(folder: Path) -> ReportData:
    from kidney_seg.run.journal import Journal, RunStatus
    from kidney_seg.run.recipe import read_manifest

    journal = Journal(folder)
    if journal.status is not RunStatus.FINISHED:
        raise InputError("the run is not finished; run its training command again, then the report", path=folder)
    test = folder / layout.TEST
    scores = read_scores(test / "scores.json", "scores of the test set")
    config = Config.read(folder / layout.CONFIG)
    manifest = read_manifest(folder / layout.MANIFEST)
    warnings = []
    if scores.get("stop_on") == "test":
        warnings.append("The rounds were chosen on these patients, as in the paper: the scores are optimistic.")
    if scores["best"].get("trouble"):
        warnings.append(f"Every start of this run collapsed ({scores['best']['trouble']}).")
    history = journal.history()
    return _report(
        scores,
        POSTPROCESSED if config.prediction.postprocess else "",
        facts_of_run(folder, config, manifest, scores),
        title=f"Run {folder.resolve().name}",
        warnings=tuple(warnings),
        history=tuple(history),
        rounds=tuple(journal.rounds(history)),
        files=_files_of_run(manifest, test, [row["case"] for row in scores["cases"]]),
    )


def _files_of_run(manifest: Mapping[str, Any], test: Path, cases: Sequence[str]) -> dict[str, Files]:
    from data_prep.cache.manifest import read_manifest

    try:
        entries = {entry.case: entry for entry in read_manifest(manifest["data"]).entries}
    except InputError:  # without its cache, the report has no pictures
        entries = {}
    found = {}
    for case in cases:
        paths = (entries[case].image_path, entries[case].label_path) if case in entries else (None, None)
        image, label = (Path(path) if path else None for path in paths)
        found[case] = Files(image, label, test / f"{case}.nii.gz")
    return found


def _of_evaluation(folder: Path, truth: str | Path | None, predictions: str | Path | None) -> ReportData:
    from data_prep.datasets.kits import case_files
    from data_prep.datasets.label_files import find_label_files

    scores = read_scores(folder / "scores.json")
    files = {}
    labels = Path(predictions) if predictions is not None else folder.resolve().parent
    if truth is not None:
        predicted = find_label_files(labels)
        for case in (row["case"] for row in scores["cases"]):
            own = Path(truth) / case
            image, label, _ = case_files(own) if own.is_dir() else (None, None, [])
            files[case] = Files(image, label, predicted.get(case))
    problems = {"missing": "predictions are missing", "unreadable": "predictions are unreadable"}
    counts = {text: len(scores.get(key, ())) for key, text in problems.items()}
    warnings = tuple(f"{count} {text} and count as empty." for text, count in counts.items() if count)
    title = f"Evaluation {folder.resolve().parent.name}"
    facts = facts_of_evaluation(scores, labels, (row["case"] for row in scores["cases"]))
    return _report(scores, "", facts, title=title, warnings=warnings, files=files)


def _report(scores: Mapping[str, Any], prefix: str, facts: Mapping[str, str | None], **rest: Any) -> ReportData:
    rows = scores["cases"]
    measured = any(row.get("tumor_diameter_mm") for row in rows)
    cases = []
    for row in rows:
        row = {**row, **{key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}}
        diameter = row["tumor_diameter_mm"] if measured else ball_diameter_mm(row["tumor_ml"])
        cases.append({**row, **{name: row[f"{name}_dice"] for name in MEASURED}, "diameter_mm": diameter or None})
    patients = len({row["patient"] for row in rows})
    counted = f"{len(rows)}" + (f" of {patients} patients" if patients != len(rows) else "")
    stored = scores.get(f"{prefix}detection")
    columns = scores["summary"].get("columns", {})
    return ReportData(
        facts=(("Cases", counted), *((name, text) for name, text in facts.items() if text)),
        table1=tuple(_table1(scores, rows)),
        cases=tuple(cases),
        further=tuple((name, columns[prefix + key]) for key, name in FURTHER.items() if prefix + key in columns),
        detection=tuple(
            {**row, "size_class": in_cm(row["size_class"])}
            for row in (stored["sizes"] if stored else detection_of_cases(cases))
        ),
        detection_by_tumor=bool(stored),
        false_tumors=stored or {},
        diameter_is_measured=measured,
        **rest,
    )


def in_cm(size_class: str) -> str:
    """Return the name of a size class in cm.

    >>> in_cm("20 to 40 mm")
    '2 to 4 cm'
    """
    return re.sub(r"\d+", lambda found: f"{int(found[0]) / 10:g}", size_class).replace(" mm", " cm")


def ball_diameter_mm(volume_ml: float | None) -> float | None:
    """Return the diameter of a ball of this volume; None for no volume.

    >>> round(ball_diameter_mm(4.18879), 3)
    20.0
    """
    return 2 * (3 * 1000 * volume_ml / (4 * math.pi)) ** (1 / 3) if volume_ml else None


def detection_of_cases(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return `summary.detection_rate` of cases (found: Dice above 0), for scores of older versions without lesions.

    Rows have `tumor` (Dice) and `diameter_mm`.
    """
    sized = [row for row in cases if row["diameter_mm"] and row["tumor"] is not None]
    return detection_rate([(size_class(row["diameter_mm"]), row["tumor"] > 0) for row in sized])


def _table1(scores: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    summary, lines = scores["summary"], []
    for prefix, stage in STAGES.items():
        for key, which in (("all", ""), ("where_present", ", only cases that hold the structure")):
            present = key != "all"
            cells = summary.get(prefix + key)
            if cells is None or (present and _same_counts(cells, summary[prefix + "all"])):
                continue
            if "low" not in cells["kidney"]:  # of an older version, without intervals
                cells = table1(rows, prefix=prefix, where_present=present)
            lines.append(Line(stage + which, cells))
    return lines


def _same_counts(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return all(first[name]["n"] == second[name]["n"] for name in STRUCTURES)
