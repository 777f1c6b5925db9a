"""Which distance the rule should use: Dice of one set with and without it; `python -m kidney_seg.threshold RUN`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cli import command, progress
from data_prep.errors import InputError
from data_prep.split.sets import SETS, set_name
from kidney_seg.figures.score_plots import draw_thresholds
from kidney_seg.metrics.overlap import AVERAGE, STRUCTURES, kits19_dice
from kidney_seg.metrics.statistics import by_patient, paired_difference
from kidney_seg.postprocess.distant_objects import remove_distant_objects

DISTANCES_MM = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0)
LEAST_GAIN = 0.002  # of the average Dice; less is no gain for the rounds of training either
NONE = "none"  # the label maps without the rule

Case = tuple[str, np.ndarray, np.ndarray, Sequence[float]]  # patient, true labels, predicted labels, spacing in mm


def score_thresholds(cases: Iterable[Case], distances_mm: Sequence[float], kidney_ml: float) -> list[dict[str, Any]]:
    """Return a row for each case and distance: `patient`, `distance_mm` (None without the rule), Dice by structure.

    Labels are [z, y, x] on one grid. Only structures that the truth holds count, None where it has none: a case
    without tumor says nothing of how well tumors are outlined. `average` is None unless both count.
    """
    rows = []
    for patient, truth, predicted, spacing_mm in cases:
        holds = {"kidney": (truth > 0).any(), "tumor": (truth == 2).any()}
        for distance_mm in (None, *distances_mm):
            labels = predicted
            if distance_mm is not None:
                labels = remove_distant_objects(predicted, spacing_mm, distance_mm, kidney_ml)
            dice = kits19_dice(truth, labels)
            row = {name: dice[name] if holds[name] else None for name in STRUCTURES}
            both = None if None in row.values() else float(np.mean(list(row.values())))
            rows.append({"patient": patient, "distance_mm": distance_mm, **row, AVERAGE: both})
    return rows


def summarize_thresholds(rows: Sequence[Mapping[str, Any]], default_mm: float) -> dict[str, Any]:
    """Return the mean Dice by distance, each with its paired difference to the labels without the rule, and a verdict.

    `table`: for each distance (None first) and structure `mean`, `difference`, `low`, `high` (95 % bootstrap by
    patient) and `patients`. `best_mm`: the distance of the best average; of equals the one nearest to the default.
    `against_default`: its paired difference to the default's average. `chosen_mm` is `best_mm` only if that interval
    lies above 0 and the difference is `LEAST_GAIN` or more, else the default: a threshold is not moved for what chance
    explains, nor for nothing. `default_mm` must be among the rows' distances.
    """
    of = {
        (distance, name): by_patient([row for row in rows if row["distance_mm"] == distance], name)
        for distance in dict.fromkeys(row["distance_mm"] for row in rows)
        for name in (*STRUCTURES, AVERAGE)
    }
    table = []
    for distance, name in of:
        own = of[distance, name]
        difference = dict.fromkeys(("difference", "low", "high"))
        if distance is not None:
            found = paired_difference(of[None, name], own)
            difference = {key: _number(value) for key, value in zip(difference, found, strict=False)}
        mean = _number(float(np.mean(list(own.values())))) if own else None
        table.append({"distance_mm": distance, "structure": name, "mean": mean, **difference, "patients": len(own)})
    means = {
        line["distance_mm"]: line["mean"]
        for line in table
        if line["structure"] == AVERAGE and None not in (line["distance_mm"], line["mean"])
    }
    if not means:
        raise InputError("no patient of this set has both kidney and tumor; choose another --part")
    best = min(means, key=lambda mm: (-round(means[mm], 6), abs(mm - default_mm)))
    against = paired_difference(of[default_mm, AVERAGE], of[best, AVERAGE])
    return {
        "table": table,
        "default_mm": default_mm,
        "best_mm": best,
        "against_default": {
            key: _number(value) for key, value in zip(("difference", "low", "high", "patients"), against, strict=True)
        },
        "chosen_mm": best if against[1] > 0 and against[0] >= LEAST_GAIN else default_mm,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def format_thresholds(summary: Mapping[str, Any]) -> str:
    """Return the summary as lines for the screen."""
    lines = ["distance  " + "  ".join(f"{name + ' (difference to none, 95 %)':40}" for name in STRUCTURES)]
    by_distance: dict[Any, dict[str, Mapping]] = {}
    for line in summary["table"]:
        by_distance.setdefault(line["distance_mm"], {})[line["structure"]] = line
    for distance, found in by_distance.items():
        name = NONE if distance is None else f"{distance:g} mm"
        lines.append(f"{name:8}  " + "  ".join(f"{_cell(found[one]):40}" for one in STRUCTURES))
    best, default, against = summary["best_mm"], summary["default_mm"], summary["against_default"]
    patients = by_distance[None][AVERAGE]["patients"]
    lines.append(f"best average of kidney and tumor over {patients} patients: {best:g} mm")
    if best == default:
        lines.append(f"{default:g} mm is what the model's settings say: keep it")
    else:
        interval = _interval(against)
        if summary["chosen_mm"] == best:
            verdict = f"the interval lies above 0: use --set distance_mm={best:g}"
        elif against["difference"] < LEAST_GAIN:
            verdict = f"less than {LEAST_GAIN:g} is no gain: keep {default:g} mm"
        else:
            verdict = f"the interval does not lie above 0: keep {default:g} mm"
        lines.append(f"against {default:g} mm, which the model's settings say: {interval}; {verdict}")
    return "\n".join(line.rstrip() for line in lines)


def _cell(line: Mapping[str, Any]) -> str:
    if line["mean"] is None:
        return "-"
    return f"{line['mean']:.4f}" + ("" if line["difference"] is None else f"  {_interval(line)}")


def _interval(found: Mapping[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['difference']:+.4f} [one patient]"
    return f"{found['difference']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"


def predicted_cases(
    run: str | Path, data: str | Path | None, split: str | Path | None, part: str
) -> tuple[Any, Callable[[], Iterable[Case]]]:
    """Return a run's settings for prediction, and a function that predicts the patients of a set one by one.

    data, split: the cache and split file, the run's own where None. InputError where something is not there, before
    TensorFlow loads.
    """
    from data_prep.cache.manifest import read_manifest
    from data_prep.split.sets import SPLIT, read_split
    from kidney_seg.model.model_file import find_model
    from kidney_seg.run.recipe import read_recipe
    from kidney_seg.tensorflow_log import quiet_tensorflow

    find_model(run)
    recipe = read_recipe(run) if Path(run).is_dir() else None
    if data is None:
        if recipe is None:
            raise InputError(f"{run}: is no run folder, so it does not tell its data; give --data")
        data = recipe.data
    manifest = read_manifest(data)
    file = split or (recipe.split_file(manifest.root) if recipe else manifest.root / SPLIT)
    patients = read_split(file, manifest)
    quiet_tensorflow()
    from kidney_seg.evaluate.held_out import held_out_cases
    from kidney_seg.model.model_file import load_model
    from kidney_seg.predict.predictor import make_predictor
    from kidney_seg.predict.volume import predict_volume

    entries = held_out_cases(manifest, patients, part)
    loaded = load_model(run)
    predictor = make_predictor(loaded.model, loaded.config.prediction.slices_per_batch)

    def predict() -> Iterable[Case]:
        from data_prep.volume import read_labels, read_volume
        from kidney_seg.metrics.overlap import cysts_to_kidney

        for entry in progress(entries, f"{part} patients"):
            volume, truth = read_volume(entry.image), read_labels(entry.labels)
            labels = predict_volume(predictor, volume, loaded.grid)
            yield entry.patient, cysts_to_kidney(truth.voxels), labels, volume.spacing_mm

    return loaded.config.prediction, predict


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.threshold",
        description="Predict the patients of one set once, apply the rule against distant objects with several "
        "distances, and print the mean Dice with and without it, with 95 % intervals by patient. Choose the distance "
        "on the validation set, not on the test set.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, or .keras file (then with --data)")
    parser.add_argument("--data", metavar="CACHE", help="cache folder (default: the run's)")
    parser.add_argument("--split", metavar="FILE", help="split file (default: the run's, or CACHE/split.json)")
    parser.add_argument(
        "--part", type=set_name, choices=SETS, default="validation", help="which set (default: %(default)s)"
    )
    parser.add_argument(
        "--distances",
        metavar="MM",
        type=float,
        nargs="+",
        default=DISTANCES_MM,
        help=f"in mm (default: {' '.join(f'{mm:g}' for mm in DISTANCES_MM)}); the settings' own is always among them",
    )
    parser.add_argument("--figure", metavar="F", help="draw the differences, too (.png, .svg, .pdf)")
    parser.add_argument("--json", metavar="FILE", help="write the figures, too")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """The command; see the module's first line."""
    from data_prep.files.json_files import write_json
    from kidney_seg.figures.style import check_name, save

    for mm in arguments.distances:
        if not 0 <= mm < math.inf:
            raise InputError(f"--distances: found {mm:g}, expected millimeters of 0 or more")
    if arguments.figure:
        check_name(arguments.figure)
    settings, predict = predicted_cases(arguments.run, arguments.data, arguments.split, arguments.part)
    distances = sorted({*arguments.distances, settings.distance_mm})
    rows = score_thresholds(predict(), distances, settings.kidney_ml)
    summary = summarize_thresholds(rows, settings.distance_mm)
    if arguments.json:
        write_json(arguments.json, {"part": arguments.part, "kidney_ml": settings.kidney_ml, **summary, "rows": rows})
    if arguments.figure:
        save(draw_thresholds(summary), arguments.figure)
    print(f"Dice of the {arguments.part} patients, by the distance of the rule")
    print(format_thresholds(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
