"""What a report tells, gathered from a run folder or from the folder of an evaluation. No pictures yet, no HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.json_files import read_json
from kidney_seg.evaluate.case_scores import AFTER
from kidney_seg.evaluate.summary import table1
from kidney_seg.metrics.lesion_detection import SIZE_CLASSES, size_class
from kidney_seg.run import layout

STRUCTURES = ("kidney", "tumor", "average")
FURTHER = (  # columns of scores.json beside Table 1: heading and column
    ("Dice, kidney and masses", "kits23_kidney_dice"),
    ("Dice, masses", "kits23_masses_dice"),
    ("Dice, tumor", "kits23_tumor_dice"),
    ("Surface Dice, kidney and masses", "kits23_kidney_surface_dice"),
    ("Surface Dice, masses", "kits23_masses_surface_dice"),
    ("Surface Dice, tumor", "kits23_tumor_surface_dice"),
    ("95 % Hausdorff distance, kidney, mm", "kidney_hd95_mm"),
    ("95 % Hausdorff distance, tumor, mm", "tumor_hd95_mm"),
    ("Average surface distance, kidney, mm", "kidney_assd_mm"),
    ("Average surface distance, tumor, mm", "tumor_assd_mm"),
)


@dataclass(frozen=True)
class Files:
    """Where the files of one case are; None where that is not known."""

    image: Path | None
    truth: Path | None
    prediction: Path | None


@dataclass(frozen=True)
class Line:
    """One line of Table 1: `cells` by structure hold mean, median, low, high, n and left_out; None for no figure."""

    name: str
    cells: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class ReportData:
    """All figures of a report.

    cases: rows of `scores.json`, with the scores that the report is about under the plain names: after the rule, where
    the predictions went through it; and with `kidney` and `tumor` (Dice) and `diameter_mm` of the largest tumor.
    diameter_is_measured: False where it was taken from the volume, as of a ball. further: heading and cell of scores
    beside Table 1. detection: rows for `score_figures.detection_by_size`, of single tumors where `detection_by_tumor`,
    else of cases; `false_tumors`: `false_per_patient`, `low` and `high`, and what counts as found.
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
    """Read what a report needs from a run folder that is finished, or from a folder with the `scores.json` of evaluate.

    `truth`: a KiTS folder with `imaging` and `segmentation` of each case, and `predictions`: label files; for the
    pictures. A run knows both itself (its cache tells where its sources are). InputError where the folder is neither,
    or the run is not finished, or its files lack something.
    """
    folder = Path(folder)
    try:
        if (folder / layout.CONFIG).is_file():
            return _of_run(folder)
        if (folder / "scores.json").is_file():
            return _of_evaluation(folder, truth, predictions)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: its files lack something that a report needs ({error!r}); score the predictions again"
        ) from None
    raise InputError(
        f"{folder}: is neither a run folder (config.json) nor the folder of an evaluation (scores.json); "
        "give the --out of a training or of python -m kidney_seg.evaluate"
    )


def _of_run(folder: Path) -> ReportData:
    from kidney_seg.run.journal import Journal, RunStatus
    from kidney_seg.run.recipe import describe_first_weights

    journal = Journal(folder)
    if journal.status is not RunStatus.FINISHED:
        raise InputError(f"{folder}: the run is not finished; run the same training command again, then the report")
    test = folder / layout.TEST
    scores = read_json(test / "scores.json", "scores of the test set")
    config = read_json(folder / layout.CONFIG, "run's settings")
    manifest = read_json(folder / layout.MANIFEST, "run's manifest")
    warnings = []
    if scores.get("stop_on") == "test":
        warnings.append("The rounds were chosen on these very patients, as the paper did: the figures are optimistic.")
    if scores["best"].get("trouble"):
        warnings.append(f"Every start of this run collapsed ({scores['best']['trouble']}).")
    versions = manifest.get("versions", {})
    began_with = (("First weights", describe_first_weights(manifest)),) if manifest.get("pretrained_sha256") else ()
    facts = (
        ("Training", f"{config['rounds']['mode']}, seed {manifest.get('seed')}"),
        ("Best round", f"{scores['best']['round']}"),
        ("Network", f"{config['model']['size']} x {config['model']['size']} pixels"),
        *began_with,
        (
            "Versions",
            ", ".join(f"{name} {versions[name]}" for name in ("kidney_seg", "tensorflow") if name in versions),
        ),
    )
    history = journal.history()
    return _report(
        f"Run {folder.resolve().name}",
        scores,
        AFTER if config["prediction"]["postprocess"] else "",
        facts,
        warnings,
        history=tuple(history),
        rounds=tuple(journal.rounds(history)),
        files=_files_of_run(manifest, test, [row["case"] for row in scores["cases"]]),
    )


def _files_of_run(manifest: Mapping[str, Any], test: Path, cases: Sequence[str]) -> dict[str, Files]:
    from data_prep.cache.manifest import read_manifest

    try:
        sources = {
            entry.case: (entry.image_path, entry.label_path) for entry in read_manifest(manifest["data"]).entries
        }
    except InputError:  # the cache is gone: the report then says so in place of the pictures
        sources = {}
    found = {}
    for case in cases:
        image, label = (Path(path) if path else None for path in sources.get(case, (None, None)))
        found[case] = Files(image, label, test / f"{case}.nii.gz")
    return found


def _of_evaluation(folder: Path, truth: str | Path | None, predictions: str | Path | None) -> ReportData:
    from data_prep.datasets.label_files import find_label_files

    scores = read_json(folder / "scores.json", "file of scores")
    files = {}
    if truth is not None:
        predicted = find_label_files(predictions if predictions is not None else folder.resolve().parent)
        for row in scores["cases"]:
            own = Path(truth) / row["case"]
            image, label = (
                next((path for end in (".nii.gz", ".nii") if (path := own / f"{name}{end}").is_file()), None)
                for name in ("imaging", "segmentation")
            )
            files[row["case"]] = Files(image, label, predicted.get(row["case"]))
    warnings = [
        f"{len(scores[name])} {text}"
        for name, text in (
            ("missing", "predictions are missing and count as empty."),
            ("unreadable", "predictions cannot be read and count as empty."),
        )
        if scores.get(name)
    ]
    facts = (("Protocol", str(scores["protocol"])),) if scores.get("protocol") else ()
    return _report(f"Evaluation {folder.resolve().parent.name}", scores, "", facts, warnings, files=files)


def _report(
    title: str,
    scores: Mapping[str, Any],
    prefix: str,
    facts: tuple[tuple[str, str], ...],
    warnings: Sequence[str],
    **rest: Any,
) -> ReportData:
    rows = scores["cases"]
    measured = any(row.get("tumor_diameter_mm") for row in rows)
    cases = []
    for row in rows:
        row = {**row, **{key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}}
        diameter = row["tumor_diameter_mm"] if measured else ball_diameter_mm(row["tumor_ml"])
        dice = {"kidney": row["kidney_dice"], "tumor": row["tumor_dice"]}
        cases.append({**row, **dice, "diameter_mm": diameter or None})
    patients = len({row["patient"] for row in rows})
    counted = f"{len(rows)}" + (f" of {patients} patients" if patients != len(rows) else "")
    stored = scores.get(f"{prefix}detection")
    columns = scores["summary"].get("columns", {})
    return ReportData(
        title=title,
        facts=(("Cases", counted), *facts),
        table1=tuple(_table1(scores, rows)),
        cases=tuple(cases),
        further=tuple((name, columns[prefix + key]) for name, key in FURTHER if prefix + key in columns),
        detection=tuple(
            {**row, "size_class": in_cm(row["size_class"])}
            for row in (stored["sizes"] if stored else detection_of_cases(cases))
        ),
        detection_by_tumor=bool(stored),
        false_tumors=stored or {},
        diameter_is_measured=measured,
        warnings=tuple(warnings),
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
    """Return how many cases' tumors were found (Dice above 0) by size class, with Wilson's 95 % interval.

    Rows have `tumor` and `diameter_mm`. For scores that tell nothing of single tumors, those of older versions.
    """
    from scipy.stats import binomtest

    rows = []
    for name in (*SIZE_CLASSES, "all"):
        found = [
            row["tumor"] > 0
            for row in cases
            if row["diameter_mm"] and row["tumor"] is not None and name in ("all", size_class(row["diameter_mm"]))
        ]
        rows.append({"size_class": name, "n": len(found), "found": sum(found), "low": None, "high": None})
        if found:
            low, high = binomtest(sum(found), len(found)).proportion_ci(method="wilson")
            rows[-1] |= {"low": float(low), "high": float(high)}
    return rows


def _table1(scores: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    summary, lines = scores["summary"], []
    for prefix, stage in (("", "as predicted"), (AFTER, "after the rule")):
        for present, key, which in (
            (False, "all", ""),
            (True, "where_present", ", only cases that hold the structure"),
        ):
            cells = summary.get(prefix + key)
            if cells is None or (present and _same_counts(cells, summary[prefix + "all"])):
                continue
            if "low" not in cells["kidney"]:  # an older version's: without intervals
                cells = table1(rows, prefix=prefix, where_present=present)
            lines.append(Line(stage + which, cells))
    return lines


def _same_counts(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return all(first[name]["n"] == second[name]["n"] for name in STRUCTURES)
