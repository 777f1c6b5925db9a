"""Compare finished runs: `python -m kidney_seg.compare RUN RUN ...`.

Runs that differ only in their seed are one arm. Arms have the same test patients and are compared by patient.
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
from data_prep.files.json_files import write_json
from data_prep.files.outputs import check_outputs, has_keys
from kidney_seg.config.run_config import Config, differences
from kidney_seg.evaluate.case_scores import POSTPROCESSED
from kidney_seg.evaluate.paired import read_rows, where_present
from kidney_seg.evaluate.tables import align, format_interval
from kidney_seg.figures.score_plots import plot_arms
from kidney_seg.metrics.missing import nan_to_none
from kidney_seg.metrics.overlap import SCORED
from kidney_seg.metrics.statistics import by_patient, mean_interval, paired, paired_difference, permutation_p
from kidney_seg.run import layout
from kidney_seg.run.journal import Journal, RoundPlayed
from kidney_seg.run.recipe import describe_first_weights, read_manifest

FIRST = "first settings"  # name of the arm that the others are compared with
COMPARE_SCHEMA = 1  # of the file of --json


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
        """Return in how many cases without the structure it was predicted, as the mean over runs, and their number.

        (NaN, 0) if every case has the structure.
        """
        absent = [row for row in self.rows if not row[f"{structure}_ml"] > 0]
        alarms = sum(row[f"{stage}predicted_{structure}_ml"] > 0 for row in absent)
        return alarms / len(self.runs) if absent else math.nan, len({row["case"] for row in absent})


def read_arms(runs: Sequence[str | Path]) -> list[Arm]:
    """Read finished runs and group those that differ only in seed, in the order of their first mention.

    An arm is named after its settings, first weights included, that differ from the first arm's.

    Raises:
        InputError: a folder is no finished run, or runs differ in data or split and so in their test patients.
    """
    read = [_read_run(Path(run)) for run in runs]
    first = read[0]
    for other in read[1:]:
        for name in ("data", "split"):
            if other["manifest"].get(f"{name}_sha256") != first["manifest"].get(f"{name}_sha256"):
                remedy = "compare only runs on the same test patients"
                raise InputError(f"its {name} differs from that of {first['path']}; {remedy}", path=other["path"])
    arms: dict[str, list[dict]] = {}
    for run in read:
        arms.setdefault(json.dumps([run["config"].to_dict(), run["pretrained"]]), []).append(run)
    made = []
    for members in arms.values():
        changed = [text.replace(" -> ", " → ") for text in differences(first["config"], members[0]["config"])]
        if first["pretrained"] != members[0]["pretrained"]:
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
        raise InputError(f"is no finished run (no {scores.relative_to(path)}); finish it, or leave it out", path=path)
    rows = read_rows(scores, ())
    manifest = read_manifest(path / layout.MANIFEST, "seed")
    return {
        "path": path,
        "config": Config.read(path / layout.CONFIG),
        "manifest": manifest,
        "pretrained": manifest.get("pretrained_sha256"),
        "steps": sum(event.steps for event in Journal(path).all_of(RoundPlayed)),
        "rows": [{**row, "run": str(path)} for row in rows],
    }


def compare(runs: Sequence[str | Path], stage: str = POSTPROCESSED) -> list[dict[str, Any]]:
    """Return one row per arm and structure with its scores and the paired difference from the first arm.

    Dice is over the patients whose truth holds the structure, so that all runs are compared on the same ones.

    Args:
        runs: folders of finished runs.
        stage: `POSTPROCESSED`, or "" for the labels as predicted.

    Returns:
        Rows with `arm`, `structure`, `patients`, `seeds` and `steps`; `mean`, `low`, `high`: over patients, each the
        mean of its runs, with the bootstrap interval; `runs`: the mean of each run, their `median_of_runs` and
        `spread` (smallest, largest); `difference`, `difference_low`, `difference_high` and `p` of the permutation
        test: by patient, from the first arm (None for this arm itself); `false_alarms`, `absent`: see
        `Arm.false_alarms`.
    """
    arms = read_arms(runs)
    made = []
    for arm in arms:
        for structure in SCORED:
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
                    **dict(zip(("difference", "difference_low", "difference_high"), change, strict=False)),
                    "p": permutation_p(paired(first, own)) if arm is not arms[0] else None,
                    "false_alarms": alarms,
                    "absent": absent,
                }
            )
    return made


def format_arms(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows of `compare` as lines of text."""
    head = "arm|structure|steps|runs|median of runs (spread)|mean [95 % by patient]|from the first|p|false alarms"
    cells: list[Sequence[str]] = [head.split("|")]
    for row in rows:
        change = ("", "")
        if row["difference"] is not None:
            interval = format_interval(row, "difference_low", "difference_high", "+")
            change = f"{row['difference']:+.3f} {interval}", f"{row['p']:.3f}"
        cells.append(
            (
                row["arm"],
                row["structure"],
                str(row["steps"]),
                str(len(row["runs"])),
                f"{row['median_of_runs']:.3f} ({row['spread'][0]:.3f} to {row['spread'][1]:.3f})",
                f"{row['mean']:.3f} {format_interval(row)}",
                *change,
                f"{row['false_alarms']:.3g} of {row['absent']}" if row["absent"] else "-",
            )
        )
    return "\n".join(align(cells, left=2))


table, figure = format_arms, plot_arms  # the documented names in version 0.1


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.compare",
        description="Compare finished runs on the same test patients. Runs that differ only in seed are one arm; the "
        "other arms are compared with the first run's, by patient.",
        epilog="example: python -m kidney_seg.compare runs/rounds/seed* runs/plain/seed* --figure compare.png",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders")
    parser.add_argument("--before", action="store_true", help="compare the labels as predicted, not post-processed")
    parser.add_argument("--json", metavar="FILE", help="also write the comparison to this file")
    parser.add_argument("--figure", metavar="FILE", help="also draw the comparison (.png, .svg, .pdf)")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from kidney_seg.figures.style import check_picture, save_figure

    if arguments.figure:
        check_picture(arguments.figure)
    if arguments.json:
        check_outputs([arguments.json], ours=has_keys("schema", "rows"))
    rows = compare(arguments.runs, "" if arguments.before else POSTPROCESSED)
    print(format_arms(rows))
    if arguments.json:
        write_json(arguments.json, nan_to_none({"schema": COMPARE_SCHEMA, "rows": rows}))
        print(arguments.json)
    if arguments.figure:
        print(save_figure(plot_arms(rows), arguments.figure))
    return 0


if __name__ == "__main__":
    sys.exit(main())
