"""Read the content of a report from a run, an evaluation or predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.typed import typed
from data_prep.origin import SIMULATED, Origin
from kidney_seg.config.run_config import Config
from kidney_seg.evaluate.case_scores import POSTPROCESSED
from kidney_seg.evaluate.score_files import read_scores
from kidney_seg.metrics.overlap import SCORED
from kidney_seg.report.data import ReportData
from kidney_seg.report.facts import facts_of_evaluation, facts_of_run
from kidney_seg.report.files import Files, find_images
from kidney_seg.report.predictions import find_records, of_predictions
from kidney_seg.report.rows import ball_diameter_mm, detection_of_cases, in_cm, table1_lines
from kidney_seg.run import layout

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


def gather(
    folder: str | Path,
    truth: str | Path | None = None,
    predictions: str | Path | None = None,
    images: str | Path | None = None,
) -> ReportData:
    """Read the content of a report.

    Args:
        folder: of a finished run, whose cache knows the scans; with the `scores.json` of evaluate; or with the label
            files and records of predict, which have no scores.
        truth: of an evaluation, for the pictures: labels, as evaluate takes them, with or without images beside them.
        images: for the pictures: folder of case folders, of files NAME.nii.gz or NAME_0000.nii.gz, or of DICOM folders.
        predictions: of an evaluation, for the pictures: label files (default: the folder above `folder`).

    Raises:
        InputError: the folder is neither, the run is not finished, or its files lack something.
    """
    folder = Path(folder)
    try:
        if (folder / layout.CONFIG).is_file():
            return _of_run(folder)
        if (folder / "scores.json").is_file():
            return _of_evaluation(folder, truth, predictions, images)
        if records := find_records(folder):
            return of_predictions(folder, records, images)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"its files lack something that a report needs ({error!r}); score the predictions again", path=folder
        ) from None
    raise InputError(
        "is neither a run folder (config.json), nor an evaluation (scores.json), nor predictions with their records; "
        "give the --out of a training, of python -m kidney_seg.evaluate or of python -m kidney_seg.predict",
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
    if scores["best"].get("trouble") and not scores.get("failed"):
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


def _of_evaluation(
    folder: Path, truth: str | Path | None, predictions: str | Path | None, images: str | Path | None
) -> ReportData:
    from data_prep.datasets.label_files import find_label_files

    scores = read_scores(folder / "scores.json")
    files = {}
    labels = Path(predictions) if predictions is not None else folder.resolve().parent
    if truth is not None:
        predicted = find_label_files(labels)
        true, scans = find_label_files(truth), find_images(images if images is not None else truth)
        for case in (row["case"] for row in scores["cases"]):
            files[case] = Files(scans.get(case), true.get(case), predicted.get(case))
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
        cases.append({**row, **{name: row[f"{name}_dice"] for name in SCORED}, "diameter_mm": diameter or None})
    patients = len({row["patient"] for row in rows})
    counted = f"{len(rows)}" + (f" of {patients} patients" if patients != len(rows) else "")
    stored = scores.get(f"{prefix}detection")
    columns = scores["summary"].get("columns", {})
    cohort, origin = (typed(Origin, scores.get(name, {})) for name in ("cohort", "origin"))
    said = {"Patients": str(cohort), "Training data": origin.trained}
    warnings = rest.pop("warnings", ())
    if failed := scores.get("failed"):
        warnings = (f"The training failed: {failed}.", *warnings)
    if SIMULATED in (cohort.kind, origin.kind):
        what = (
            "The patients are simulated" if cohort.kind == SIMULATED else "The model was trained on simulated patients"
        )
        warnings = (f"{what}: the scores say nothing of real scans.", *warnings)
    return ReportData(
        facts=(("Cases", counted), *((name, text) for name, text in (said | dict(facts)).items() if text)),
        warnings=warnings,
        cohort=cohort,
        origin=origin,
        ceiling=scores.get("ceiling", {}),
        table1=tuple(table1_lines(scores, rows)),
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
