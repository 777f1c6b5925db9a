"""Finished runs side by side: `python -m kidney_seg.compare RUN RUN ...`.

Runs that differ only in their seed are one arm; arms are compared by patient, which their shared test set allows.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cli import command
from data_prep.errors import InputError
from data_prep.files.json_files import read_json, write_json
from kidney_seg.config.run_config import Config, differences
from kidney_seg.evaluate.paired import where_present
from kidney_seg.figures.score_plots import figure
from kidney_seg.metrics.overlap import STRUCTURES
from kidney_seg.metrics.statistics import by_patient, mean_interval, paired, paired_difference, permutation_p
from kidney_seg.run import layout
from kidney_seg.run.journal import Journal, RoundPlayed
from kidney_seg.run.recipe import describe_first_weights

BEFORE, AFTER = "", "postprocessed_"
FIRST = "first settings"  # name of the arm that the others are compared with


@dataclass(frozen=True)
class Arm:
    """Runs of the same settings. rows: the test cases of all its runs, each with `run`; steps: of the longest run."""

    name: str
    runs: tuple[Path, ...]
    seeds: tuple[int, ...]
    steps: int
    rows: tuple[dict[str, Any], ...]

    def mean_of_run(self, run: Path, key: str) -> float:
        """Return the mean of a column over the test patients of one run whose truth holds the structure."""
        rows = [row for row in where_present(self.rows, key) if row["run"] == str(run)]
        values = list(by_patient(rows, key).values())
        return float(np.mean(values)) if values else math.nan

    def false_alarms(self, structure: str, stage: str) -> tuple[float, int]:
        """Return in how many cases without the structure it was predicted, averaged over runs, and how many those are.

        Each case counts once, whatever the number of runs; (NaN, 0) where every case has the structure.
        """
        absent = [row for row in self.rows if not row[f"{structure}_ml"] > 0]
        alarms = sum(row[f"{stage}predicted_{structure}_ml"] > 0 for row in absent)
        return alarms / len(self.runs) if absent else math.nan, len({row["case"] for row in absent})


def read_arms(runs: Sequence[str | Path]) -> list[Arm]:
    """Read finished runs and group those that differ only in seed, in the order of their first mention.

    An arm's name is what its settings have that the first arm's have not; which weights a run began with counts as a
    setting. InputError for a folder that is no finished run, and for runs whose data or split differ: their test
    patients are others.
    """
    read = [_read_run(Path(run)) for run in runs]
    first = read[0]
    for other in read[1:]:
        for name in ("data_sha256", "split_sha256"):
            if other["manifest"].get(name) != first["manifest"].get(name):
                raise InputError(
                    f"{other['path']}: its {name.removesuffix('_sha256')} is not that of {first['path']}; only runs on "
                    "the same test patients can be compared"
                )
    arms: dict[str, list[dict]] = {}
    for run in read:
        arms.setdefault(json.dumps([run["config"].to_dict(), run["began_with"]]), []).append(run)
    made = []
    for members in arms.values():
        changed = [text.replace(" -> ", " → ") for text in differences(first["config"], members[0]["config"])]
        if first["began_with"] != members[0]["began_with"]:
            weights = [describe_first_weights(run["manifest"]) for run in (first, members[0])]
            changed.append(f"pretrained: {weights[0]} → {weights[1]}")
        made.append(
            Arm(
                name="; ".join(changed) or FIRST,
                runs=tuple(run["path"] for run in members),
                seeds=tuple(run["manifest"]["seed"] for run in members),
                steps=max(run["steps"] for run in members),
                rows=tuple(row for run in members for row in run["rows"]),
            )
        )
    return made


def _read_run(path: Path) -> dict[str, Any]:
    scores = path / layout.SCORES
    if not (path / layout.CONFIG).is_file() or not scores.is_file():
        raise InputError(f"{path}: is no finished run (no {scores.relative_to(path)}); finish it, or leave it out")
    rows = read_json(scores, "scores of the test set")["cases"]
    manifest = read_json(path / layout.MANIFEST, "run's manifest")
    return {
        "path": path,
        "config": Config.from_dict(read_json(path / layout.CONFIG, "run's settings")),
        "manifest": manifest,
        "began_with": manifest.get("pretrained_sha256"),
        "steps": sum(event.steps for event in Journal(path).all_of(RoundPlayed)),
        "rows": [{**row, "run": str(path)} for row in rows],
    }


def compare(runs: Sequence[str | Path], stage: str = AFTER) -> list[dict[str, Any]]:
    """Return a row an arm and structure: its figures, and the paired difference to the first arm.

    `stage`: `AFTER` or `BEFORE` the post-processing. All Dice are over the patients whose truth holds the structure, so
    that every run and arm is of the same ones: a false alarm in another patient would be 0 in one run and no number in
    the next. `false_alarms`, `absent`: of those other cases (`Arm.false_alarms`). `mean`, `low`, `high`: over patients,
    each the mean of its runs, with the bootstrap interval by patient; `runs`: the mean of each run, `spread` their
    smallest and largest; `difference`, `difference_low`, `difference_high`: by patient, against the first arm, and `p`
    of the paired permutation test (all None for the first arm itself).
    """
    arms = read_arms(runs)
    made = []
    for arm in arms:
        for structure in STRUCTURES:
            key = f"{stage}{structure}_dice"
            own, first = (by_patient(where_present(one.rows, key), key) for one in (arm, arms[0]))
            low, high = mean_interval(list(own.values()))
            by_run = [arm.mean_of_run(run, key) for run in arm.runs]
            change = paired_difference(first, own) if arm is not arms[0] else (None, None, None, len(own))
            alarms, absent = arm.false_alarms(structure, stage)
            made.append(
                {
                    "arm": arm.name,
                    "structure": structure,
                    "patients": change[3],
                    "seeds": list(arm.seeds),
                    "steps": arm.steps,
                    "mean": float(np.mean(list(own.values()))) if own else math.nan,
                    "low": low,
                    "high": high,
                    "runs": by_run,
                    "median_of_runs": float(np.median(by_run)),
                    "spread": [min(by_run), max(by_run)],
                    "difference": change[0],
                    "difference_low": change[1],
                    "difference_high": change[2],
                    "p": permutation_p(paired(first, own)) if arm is not arms[0] else None,
                    "false_alarms": alarms,
                    "absent": absent,
                }
            )
    return made


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the comparison as lines of text."""
    width = max(12, *(len(row["arm"]) for row in rows))
    columns = (
        "structure",
        "steps",
        "runs",
        " median of runs (spread)",
        " mean [95 % by patient]",
        " against the first          p",
        " false alarms",
    )
    lines = [f"{'arm':{width}}  {'  '.join(columns)}"]
    for row in rows:
        spread = f"{row['median_of_runs']:.3f} ({row['spread'][0]:.3f} to {row['spread'][1]:.3f})"
        mean = f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        change = ""
        if row["difference"] is not None:
            change = f"{row['difference']:+.3f} [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
            change += f" {row['p']:.3f}"
        alarms = f"{row['false_alarms']:.3g} of {row['absent']}" if row["absent"] else "-"
        cells = f"{row['structure']:9}  {row['steps']:5}  {len(row['runs']):4}   {spread:23}   {mean:22}   {change:29}"
        lines.append(f"{row['arm']:{width}}  {cells}   {alarms}")
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.compare",
        description="Compare finished runs on the same test patients. Runs that differ only in seed are one arm; the "
        "first run's arm is what the others are compared with, by patient.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders")
    parser.add_argument("--before", action="store_true", help="compare the labels before the post-processing")
    parser.add_argument("--json", metavar="FILE", help="write the figures here, too")
    parser.add_argument("--figure", metavar="F", help="draw them, to a .png, .svg or .pdf file")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """The command; see the module's first lines."""
    from kidney_seg.figures.style import check_name, save

    if arguments.figure:
        check_name(arguments.figure)
    rows = compare(arguments.runs, BEFORE if arguments.before else AFTER)
    print(table(rows))
    if arguments.json:
        write_json(arguments.json, {"schema": 1, "rows": _without_nan(rows)})
        print(arguments.json)
    if arguments.figure:
        print(save(figure(rows), arguments.figure))
    return 0


def _without_nan(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and math.isnan(value) else value

    return [{key: plain(value) for key, value in row.items()} for row in rows]


if __name__ == "__main__":
    sys.exit(main())
