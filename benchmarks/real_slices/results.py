"""Results of the finished runs of the cross-validation: one row per arm, compared by patient with the first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.real_slices.arms import Arm
from benchmarks.real_slices.training import cache_folder, run_folder, scores_file
from data_prep.cache.manifest import read_manifest
from data_prep.files.json_files import read_json
from data_prep.split.sets import read_split
from kidney_seg.metrics.statistics import by_patient, mean_interval, paired_difference

FALSE_ALARM_MM2 = 50.0  # smallest area of a false alarm: a structure in a slice that has none
MISSED_DICE = 0.05  # a structure with a lower Dice is missed
STRUCTURES = ("kidney", "tumor")
Slices = list[dict[str, Any]]  # of a run, as `slices_of` returns them
AREAS_MM2 = (0, 500, 1500, 4000)  # of the kidney in a slice, from which on it belongs to the next group


def slices_of(arm: Arm, root: Path, out: Path, fold: int, seed: int) -> Slices | None:
    """Return the scored slices of a fold's test patients; None if they are not scored yet.

    Each has `patient`, `kidney`, `tumor` (Dice, None if the truth has none), `false_kidney`, `false_tumor` (None if the
    slice holds it) and `truth_mm2`, the area of kidney and tumor. `root` holds the caches.
    """
    cache = cache_folder(root, arm.grid)
    path = scores_file(run_folder(arm, out, fold, seed), teacher=bool(arm.cohort))
    if not path.is_file():
        return None
    manifest = read_manifest(cache)
    tested = set(read_split(cache / "folds" / f"fold{fold}.json", manifest)["test"])
    thickness = {entry.case: entry.spacing_mm[0] for entry in manifest.entries}
    made = []
    for row in read_json(path, "scores")["cases"]:
        if row["patient"] not in tested:
            continue
        mm2_per_ml = 1000 / thickness[row["case"]]
        made.append(
            {
                "patient": row["patient"],
                **{name: row[f"{name}_dice"] if row[f"{name}_ml"] > 0 else None for name in STRUCTURES},
                **{
                    f"false_{name}": float(row[f"predicted_{name}_ml"] * mm2_per_ml > FALSE_ALARM_MM2)
                    if row[f"{name}_ml"] == 0
                    else None
                    for name in STRUCTURES
                },
                "truth_mm2": row["kidney_ml"] * mm2_per_ml,
            }
        )
    return made


def collect(
    arms: Sequence[Arm],
    root: Path,
    out: Path,
    folds: Sequence[int],
    seeds: Sequence[int],
    choose: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return a row per arm with finished runs: mean Dice over slices, its interval and difference by patient.

    `choose`: titles of arms for a further row `chosen`: in each fold the slices of the arm that is best in the other
    folds (`_best`), so that the choice does not see what it is scored on. It needs all runs of these arms.
    """
    runs: dict[str, dict[int, list[Slices | None]]] = {}
    for arm in arms:
        own = seeds[:1] if arm.cohort or arm.members else seeds
        runs[arm.title] = {fold: [slices_of(arm, root, out, fold, seed) for seed in own] for fold in folds}
    why = {arm.title: arm.why for arm in arms}
    candidates = [runs[title] for title in choose]
    if candidates and all(one is not None for own in candidates for seen in own.values() for one in seen):
        best = {fold: _best({title: runs[title] for title in choose}, fold) for fold in folds}
        runs["chosen"] = {fold: runs[title][fold] for fold, title in best.items()}
        why["chosen"] = ", ".join(f"fold {fold}: {title}" for fold, title in best.items())
    made, first = [], None
    for title, own_runs in runs.items():
        every = [run for in_fold in own_runs.values() for run in in_fold]
        finished = [run for run in every if run is not None]
        slices = [one for run in finished for one in run]
        if not slices:
            continue
        means = {name: by_patient(slices, name) for name in STRUCTURES}
        first = first or means
        row: dict[str, Any] = {"arm": title, "why": why[title], "runs": len(finished), "wanted": len(every)}
        for name in STRUCTURES:
            alarms = [one[f"false_{name}"] for one in slices if one[f"false_{name}"] is not None]
            low, high = mean_interval(list(means[name].values()))
            values = _values(slices, name)
            row[name] = {
                "mean": fmean(values) if values else None,
                "slices": len(values),
                "interval": None if low != low else [low, high],
                "missed": fmean(value < MISSED_DICE for value in values) if values else None,
                "false": fmean(alarms) if alarms else None,
                "difference": None if means is first else paired_difference(first[name], means[name])[:3],
            }
        row["kidney"]["by_area"] = _by_area(slices)
        made.append(row)
    return made


def _values(slices: Slices, name: str) -> list[float]:
    return [one[name] for one in slices if one[name] is not None]


def _best(runs: Mapping[str, Mapping[int, Sequence[Slices | None]]], left_out: int) -> str:
    """Return the title of the arm with the best mean of kidney and tumor in all folds but one; the first of equals."""

    def score(own: Mapping[int, Sequence[Slices | None]]) -> float:
        slices = [one for fold, seen in own.items() if fold != left_out for run in seen for one in run or ()]
        found = [_values(slices, name) for name in STRUCTURES]
        return sum(fmean(values) for values in found if values)

    return max(runs, key=lambda title: score(runs[title]))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as lines of text."""
    width = max(8, *(len(row["arm"]) for row in rows))
    heads = "".join(f"  {name + ' [95 % by patient]':24}{'against the first':26}" for name in STRUCTURES)
    lines = [f"{'arm':{width}}  runs{heads}  tumors missed  false tumors  false kidneys"]
    for row in rows:
        cells = ""
        for name in STRUCTURES:
            one = row[name]
            shown = _figure(one["mean"]) + (" [{:.3f}, {:.3f}]".format(*one["interval"]) if one["interval"] else "")
            change = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*one["difference"]) if one["difference"] else ""
            cells += f"  {shown:24}{change:26}"
        shares = (row["tumor"]["missed"], row["tumor"]["false"], row["kidney"]["false"])
        missed, tumors, kidneys = (_figure(share, "{:.0%}") for share in shares)
        lines.append(
            f"{row['arm']:{width}}  {row['runs']}/{row['wanted']}{cells}  {missed:>13}  {tumors:>12}  {kidneys:>13}"
        )
    return "\n".join(lines)


def area_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the mean and median Dice of the kidney by its area in the slice, as lines of text."""
    width = max(8, *(len(row["arm"]) for row in rows))
    lines = [f"{'kidney':{width}}" + "".join(f"  {f'from {area} mm2: n, mean, median':>34}" for area in AREAS_MM2)]
    for row in rows:
        cells = "".join(
            f"{one['slices']:>18} {_figure(one['mean']):>8} {_figure(one['median']):>8}"
            for one in row["kidney"]["by_area"]
        )
        lines.append(f"{row['arm']:{width}}{cells}")
    return "\n".join(lines)


def _by_area(slices: Slices) -> list[dict[str, Any]]:
    """Return `from_mm2`, `slices`, `mean` and `median` Dice of the kidney for each of AREAS_MM2."""
    made = []
    for low, high in itertools.pairwise((*AREAS_MM2, math.inf)):
        dice = [one["kidney"] for one in slices if one["kidney"] is not None and low <= one["truth_mm2"] < high]
        known = {"mean": fmean(dice), "median": median(dice)} if dice else {"mean": None, "median": None}
        made.append({"from_mm2": low, "slices": len(dice), **known})
    return made


def _figure(value: float | None, form: str = "{:.3f}") -> str:
    return "-" if value is None else form.format(value)
