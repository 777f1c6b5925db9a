"""Scores of a folder of predictions: Dice by case as KiTS19 has it, CSV and JSON, and Table 1."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.command import InputError, progress, run_command
from data_prep.kits import patient_of
from data_prep.split import SETS, patients_of
from kidney_seg.label_files import find_label_files
from kidney_seg.postprocess import DISTANCE_MM, KIDNEY_ML, check_limits, remove_distant_objects
from kidney_seg.scores import AFTER, format_table1, score_case, summarize, write_scores

if TYPE_CHECKING:
    from data_prep.volume import Volume


@dataclass
class Evaluation:
    """Scores by case, and what did not fit. Missing and unreadable predictions count as empty in `rows`."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # cases without a prediction
    unreadable: list[str] = field(default_factory=list)  # predictions; one line each, file and reason
    extra: list[str] = field(default_factory=list)  # predictions of no case to score; left out


def score_folders(
    predictions: str | Path,
    truth: str | Path,
    *,
    patients: Collection[str] | None = None,
    distance_mm: float | None = None,
    kidney_ml: float = KIDNEY_ML,
) -> Evaluation:
    """Score the predictions, as the files are, of every case with true labels, or only of `patients`.

    With `distance_mm` the rows also hold the scores after `postprocess.remove_distant_objects`. A missing or
    unreadable prediction counts as empty, as on the challenge's server, and is listed; so is one without a
    truth, which is left out. InputError where truth and prediction lie on different grids, a truth cannot be
    read, no prediction is of a case to score, or one of `patients` has no truth.
    """
    from data_prep.volume import read_labels

    files, truths = find_label_files(predictions), find_label_files(truth)
    if Path(predictions).is_file() and len(truths) == 1:  # one file against one: their names need not agree
        files = dict(zip(truths, files.values(), strict=True))
    if patients is not None:
        truths = _only(truths, set(patients), truth)
    if not set(files) & set(truths):
        raise InputError(
            f"{predictions}: none of {len(files)} predictions ({_some(files)}) is of a case to score "
            f"({_some(truths)}); expected the same names in both"
        )
    result = Evaluation(
        missing=[name for name in truths if name not in files],
        extra=[name for name in files if name not in truths],
    )
    for name, path in progress(truths.items(), "scoring", total=len(truths)):
        true = read_labels(path)
        predicted = np.zeros_like(true.voxels)
        if name in files:
            try:
                found = read_labels(files[name])
            except InputError as error:
                result.unreadable.append(str(error))
            else:
                _check_grid(found, true)
                predicted = found.voxels
        cleaned = None
        if distance_mm is not None:
            cleaned = remove_distant_objects(predicted, true.spacing_mm, distance_mm, kidney_ml)
        result.rows.append(score_case(name, true.voxels, predicted, true.spacing_mm, cleaned))
    return result


def evaluate_folders(
    predictions: str | Path,
    truth: str | Path,
    out: str | Path | None = None,
    *,
    force: bool = False,
    **options: Any,
) -> Evaluation:
    """Score (see `score_folders` for `options`) and write `cases.csv` and `scores.json` into `out`, a folder.

    `out` is `evaluation` in (or, for one file, beside) `predictions` where it is not given.
    """
    result = score_folders(predictions, truth, **options)
    write_scores(result.rows, out or _default_out(predictions), _details(result, options), force)
    return result


def _only(truths: dict[str, Path], patients: set[str], where: str | Path) -> dict[str, Path]:
    absent = patients - {patient_of(name) for name in truths}
    if absent:
        raise InputError(
            f"{where}: has no labels of {len(absent)} of {len(patients)} patients to score "
            f"({_some(sorted(absent))}); expected the folder that the cache was built from"
        )
    return {name: path for name, path in truths.items() if patient_of(name) in patients}


def _check_grid(found: Volume, true: Volume) -> None:
    from data_prep.volume import same_grid

    if same_grid(true.source, found.source):
        return
    differences = ", ".join(
        f"{key} {_numbers(mine)} instead of {_numbers(theirs)}"
        for key in ("size", "spacing", "origin", "direction")
        if (mine := getattr(found.source, key)) != (theirs := getattr(true.source, key))
    )
    raise InputError(
        f"{found.path}: lies on another grid than its truth {true.path}: {differences}; "
        "expected labels on the grid of the case's own files"
    )


def _numbers(values: Collection[float]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"


def _some(names: Collection[str]) -> str:
    return ", ".join(list(names)[:3]) + (", ..." if len(names) > 3 else "")


def _default_out(predictions: str | Path) -> Path:
    predictions = Path(predictions)
    return (predictions.parent if predictions.is_file() else predictions) / "evaluation"


def _details(result: Evaluation, options: dict[str, Any]) -> dict[str, Any]:
    rule = None
    if options.get("distance_mm") is not None:
        rule = {"distance_mm": options["distance_mm"], "kidney_ml": options.get("kidney_ml", KIDNEY_ML)}
    kept = {"missing": result.missing, "unreadable": result.unreadable, "extra": result.extra}
    return {
        "protocol": "KiTS19: kidney is label > 0, tumor label > 1, cysts are kidney",
        "rule": rule,
        **kept,
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command: exit code 0, or 2 where a prediction could not be read (the others are scored)."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.evaluate",
        description="Score predicted label files against the true ones: volumetric Dice of kidney (with its "
        "tumors) and tumor as in KiTS19. Prints Table 1, writes cases.csv and scores.json. A missing "
        "prediction counts as empty.",
    )
    parser.add_argument(
        "predictions",
        metavar="PREDICTIONS",
        type=Path,
        help="folder of NAME.nii.gz, prediction_NAME.nii.gz or NAME/segmentation.nii.gz; or one file",
    )
    parser.add_argument(
        "truth", metavar="TRUTH", type=Path, help="KiTS folder, or a folder of NAME.nii.gz; or one file"
    )
    parser.add_argument("--out", type=Path, help="folder for the scores (default: PREDICTIONS/evaluation)")
    parser.add_argument("--split", metavar="FILE", type=Path, help="CACHE/split.json: score one set only")
    parser.add_argument("--part", choices=SETS, default="test", help="which set of --split (default: %(default)s)")
    parser.add_argument(
        "--postprocess", action="store_true", help="score also after removal of objects far from the kidneys"
    )
    parser.add_argument(
        "--distance-mm", type=float, default=DISTANCE_MM, help="with --postprocess (default: %(default)s)"
    )
    parser.add_argument("--kidney-ml", type=float, default=KIDNEY_ML, help="with --postprocess (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace other scores in --out")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    check_limits(arguments.distance_mm, arguments.kidney_ml)
    options: dict[str, Any] = {}
    if arguments.split:
        options["patients"] = patients_of(arguments.split, arguments.part)
    if arguments.postprocess:
        options |= {"distance_mm": arguments.distance_mm, "kidney_ml": arguments.kidney_ml}
    result = score_folders(arguments.predictions, arguments.truth, **options)
    print(_tables(result, options))
    for line in _findings(result):
        print(line, file=sys.stderr)
    out = arguments.out or _default_out(arguments.predictions)
    for path in write_scores(result.rows, out, _details(result, options), arguments.force):
        print(f"wrote {path}")
    return 2 if result.unreadable else 0


def _tables(result: Evaluation, options: dict[str, Any]) -> str:
    summary = summarize(result.rows)
    count = len(result.rows)
    titles = {
        "all": f"Table 1, {count} case{'s' * (count != 1)}; left out is what truth and prediction both lack",
        "where_present": "Only cases whose truth holds the structure",
    }
    tables = [format_table1(summary[key], title, summary.get(AFTER + key)) for key, title in titles.items()]
    if "distance_mm" in options:
        rule = f"farther than {options['distance_mm']:g} mm, kidneys from {options['kidney_ml']:g} mL"
        tables.append(f"The rule removes objects {rule}.")
    return "\n\n".join(tables)


def _findings(result: Evaluation) -> list[str]:
    """Say what did not fit: a line for each unreadable file, one for all missing, one for all extra ones."""
    lines = [f"error: {line} (counted as empty)" for line in result.unreadable]
    if result.missing:
        lines.append(f"missing, counted as empty: {', '.join(result.missing)}")
    if result.extra:
        lines.append(f"left out, of no case to score: {', '.join(result.extra)}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
