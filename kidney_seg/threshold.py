"""Compare distances of the post-processing by Dice on one set of patients: `python -m kidney_seg.threshold RUN`."""

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
from data_prep.labels import TUMOR, cysts_to_kidney
from data_prep.split.sets import SETS, SPLIT, read_split, set_name
from kidney_seg.config.prediction import PAPER, TUMOR_MM
from kidney_seg.figures.score_plots import plot_thresholds
from kidney_seg.metrics.overlap import AVERAGE, SCORED, kits19_dice
from kidney_seg.metrics.statistics import by_patient, paired_difference
from kidney_seg.postprocess.distant_objects import remove_distant_objects

DISTANCES_MM = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0)
LEAST_GAIN = 0.002  # in average Dice; the rounds of training ignore smaller gains as well
NONE = "none"  # without post-processing

Case = tuple[str, np.ndarray, np.ndarray, Sequence[float]]  # patient, true labels, predicted labels, spacing in mm


def score_thresholds(
    cases: Iterable[Case],
    distances_mm: Sequence[float],
    kidney_ml: float,
    rule: str = PAPER,
    tumor_mm: float = TUMOR_MM,
) -> list[dict[str, Any]]:
    """Return one row per case and distance: `patient`, `distance_mm` (None: not post-processed), Dice by structure.

    Labels are [z, y, x] on one grid. A structure that the truth lacks is None: a case without tumor says nothing about
    the outlines of tumors. `average` is None unless the truth has both. The other arguments are those of
    `remove_distant_objects`.
    """
    rows = []
    for patient, truth, predicted, spacing_mm in cases:
        holds = {"kidney": (truth > 0).any(), "tumor": (truth == TUMOR).any()}
        for distance_mm in (None, *distances_mm):
            labels = predicted
            if distance_mm is not None:
                labels = remove_distant_objects(predicted, spacing_mm, distance_mm, kidney_ml, rule, tumor_mm)
            dice = kits19_dice(truth, labels)
            row = {name: dice[name] if holds[name] else None for name in SCORED}
            both = None if None in row.values() else float(np.mean(list(row.values())))
            rows.append({"patient": patient, "distance_mm": distance_mm, **row, AVERAGE: both})
    return rows


def summarize_thresholds(rows: Sequence[Mapping[str, Any]], default_mm: float) -> dict[str, Any]:
    """Return the mean Dice by distance, with paired differences to no post-processing, and the distance to choose.

    Returns:
        `table`: per distance (None first) and structure `mean`, `difference`, `low`, `high` (95 % bootstrap by patient)
        and `patients`. `best_mm`: the distance with the best average; of equal ones, the closest to the default.
        `against_default`: its paired difference to the default. `chosen_mm`: `best_mm` if that interval is above 0 and
        the difference is at least `LEAST_GAIN`, else the default, so that chance does not move a threshold.

    Raises:
        InputError: no patient has both kidney and tumor.
    """
    of = {
        (distance, name): by_patient([row for row in rows if row["distance_mm"] == distance], name)
        for distance in dict.fromkeys(row["distance_mm"] for row in rows)
        for name in (*SCORED, AVERAGE)
    }
    table = []
    for (distance, name), own in of.items():
        found = paired_difference(of[None, name], own)[:3] if distance is not None else [math.nan] * 3
        difference = dict(zip(("difference", "low", "high"), map(_number, found), strict=True))
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
    """Return the summary as lines of text."""
    lines = ["distance  " + "  ".join(f"{name + ' (difference to none, 95 %)':40}" for name in SCORED)]
    by_distance: dict[Any, dict[str, Mapping]] = {}
    for line in summary["table"]:
        by_distance.setdefault(line["distance_mm"], {})[line["structure"]] = line
    for distance, found in by_distance.items():
        name = NONE if distance is None else f"{distance:g} mm"
        lines.append(f"{name:8}  " + "  ".join(f"{_cell(found[one]):40}" for one in SCORED))
    best, default, against = summary["best_mm"], summary["default_mm"], summary["against_default"]
    patients = by_distance[None][AVERAGE]["patients"]
    lines.append(f"best average of kidney and tumor over {patients} patients: {best:g} mm")
    if best == default:
        lines.append(f"{default:g} mm is the model's setting: keep it")
    else:
        if summary["chosen_mm"] == best:
            verdict = f"the interval is above 0: use --set distance_mm={best:g}"
        elif against["difference"] < LEAST_GAIN:
            verdict = f"less than {LEAST_GAIN:g} is no gain: keep {default:g} mm"
        else:
            verdict = f"the interval is not above 0: keep {default:g} mm"
        lines.append(f"compared with {default:g} mm, the model's setting: {_interval(against)}; {verdict}")
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
    """Return a run's settings of prediction, and a function that predicts the patients of a set one by one.

    Args:
        run: run folder or `.keras` file.
        data, split: cache and split file; None: the run's own.
        part: name of the set.

    Raises:
        InputError: something is missing; raised before TensorFlow is loaded.
    """
    from data_prep.cache.manifest import read_manifest
    from kidney_seg.model.model_file import find_source
    from kidney_seg.model.trained_on import origin_line
    from kidney_seg.run.recipe import read_recipe
    from kidney_seg.tensorflow_log import quiet_tensorflow

    source = find_source(run)
    print(origin_line([source]))
    recipe = read_recipe(run) if Path(run).is_dir() else None
    if data is None:
        if recipe is None:
            raise InputError("is no run folder, so its data is unknown; give --data", path=run)
        data = recipe.data
    manifest = read_manifest(data)
    file = split or (recipe.split_file(manifest.root) if recipe else manifest.root / SPLIT)
    patients = read_split(file, manifest)
    quiet_tensorflow()
    from kidney_seg.evaluate.held_out import held_out_cases
    from kidney_seg.predict.engines import open_predictor
    from kidney_seg.predict.predictor import predict_volume

    entries = held_out_cases(manifest, patients, set_name(part))
    settings = source.config.prediction
    predictor = open_predictor([source], settings)

    def predict() -> Iterable[Case]:
        from data_prep.geometry.placement import place_labels
        from data_prep.volume import read_labels, read_volume

        for entry in progress(entries, f"{part} patients"):
            volume = read_volume(entry.image)
            truth = place_labels(read_labels(entry.labels), volume.source)
            labels = predict_volume(predictor, volume, source.grid)
            yield entry.patient, cysts_to_kidney(truth.voxels), labels, volume.spacing_mm

    return settings, predict


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.threshold",
        description="Predict the patients of one set once, post-process with several distances, and print the mean "
        "Dice with and without post-processing, with 95 % intervals by patient. Choose the distance on the validation "
        "set, not on the test set.",
        epilog="example: python -m kidney_seg.threshold RUN --distances 10 20 40 --figure distances.png",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="run folder, or .keras file (then with --data)")
    add("--data", metavar="CACHE", help="cache folder (default: the run's)")
    add("--split", metavar="FILE", help="split file (default: the run's, or CACHE/split.json)")
    add("--part", type=set_name, choices=SETS, default="validation", help="set of patients (default: %(default)s)")
    add(
        "--distances",
        metavar="MM",
        type=float,
        nargs="+",
        default=DISTANCES_MM,
        help="distances to compare; the model's own is always added (default: "
        f"{' '.join(f'{mm:g}' for mm in DISTANCES_MM)})",
    )
    add("--figure", metavar="FILE", help="also draw the differences (.png, .svg, .pdf)")
    add("--json", metavar="FILE", help="also write the scores and the choice")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Print the mean Dice by distance, and which distance to use."""
    from data_prep.files.json_files import write_json
    from data_prep.files.outputs import check_outputs, has_keys
    from kidney_seg.figures.style import check_picture, save

    for mm in arguments.distances:
        if not 0 <= mm < math.inf:
            raise InputError(f"--distances: found {mm:g}, expected millimeters of 0 or more")
    if arguments.figure:
        check_picture(arguments.figure)
    if arguments.json:
        check_outputs([arguments.json], ours=has_keys("part", "kidney_ml", "rows"))
    settings, predict = predicted_cases(arguments.run, arguments.data, arguments.split, arguments.part)
    distances = sorted({*arguments.distances, settings.distance_mm})
    rows = score_thresholds(predict(), distances, settings.kidney_ml, settings.rule, settings.tumor_mm)
    summary = summarize_thresholds(rows, settings.distance_mm)
    print(f"Dice of the {arguments.part} patients by distance of the post-processing")
    print(format_thresholds(summary))
    if arguments.json:
        write_json(arguments.json, {"part": arguments.part, "kidney_ml": settings.kidney_ml, **summary, "rows": rows})
    if arguments.figure:
        save(plot_thresholds(summary), arguments.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
