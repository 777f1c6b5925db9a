"""Which settings help when patients are few: `python -m benchmarks.real_slices DATA --out OUT`; see `--help`."""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

from benchmarks.real_slices import training
from benchmarks.real_slices.arms import find_arms
from benchmarks.real_slices.gather import gather
from benchmarks.real_slices.results import area_table, collect, table
from data_prep.cache.manifest import read_manifest
from data_prep.cli import command
from data_prep.errors import InputError
from data_prep.files.json_files import write_json
from kidney_seg.config.set_option import add_set_option


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real_slices",
        description="Cross-validate arms (benchmarks/real_slices/settings) by patient: build, split into folds, train, "
        "predict and score with the project's own commands. The same command resumes and keeps finished folds. To "
        "choose settings without the reported patients, explore with --folds 1 2 3 4 and report fold 0.",
        epilog="example: python -m benchmarks.real_slices SLICES --out OUT --arms few scratch --folds 0",
    )
    parser.add_argument(
        "data", metavar="DIR", nargs="+", help="folders of cases, such as single slices of KiTS patients; linked as one"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for caches and runs")
    parser.add_argument(
        "--labels",
        metavar="DIR",
        help="label maps, case_NNNNN/segmentation.nii.gz, for the arms with simulated teachers",
    )
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="N", help="processes that simulate (default: %(default)s)"
    )
    parser.add_argument("--arms", nargs="+", metavar="NAME", help="names or .json files (default: all)")
    parser.add_argument(
        "--against", metavar="NAME", default="paper", help="arm that the others are compared with (default: paper)"
    )
    parser.add_argument(
        "--folds", nargs="+", type=int, default=list(range(training.FOLDS)), metavar="K", help="(default: all)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="S", help="(default: 0)")
    parser.add_argument(
        "--together", action="store_true", help="also average the networks of all --seeds, as a further arm (xN)"
    )
    parser.add_argument(
        "--choose",
        nargs="+",
        metavar="NAME",
        help="also a row `chosen`: in each fold, the arm with the best mean of kidney and tumor in the other folds, so "
        "that no choice sees the patients it is scored on",
    )
    add_set_option(parser, "settings of all arms, over their own, such as precision=mixed_bfloat16")
    parser.add_argument("--quick", action="store_true", help="fold 1 alone and a quarter of the steps, to explore")
    parser.add_argument("--results", action="store_true", help="train nothing, print the table of the finished runs")
    parser.add_argument("--json", metavar="FILE", help="also write the results to this file")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """Train what is missing, per fold and arm, and print the results of all finished folds."""
    folds = [1] if options.quick else options.folds
    if not all(0 <= fold < training.FOLDS for fold in folds):
        raise InputError(f"--folds {' '.join(map(str, folds))}: expected numbers from 0 to {training.FOLDS - 1}")
    arms = find_arms(options.arms, options.against, options.set)
    if options.together and len(options.seeds) < 2:
        raise InputError("--together: averages the networks of several seeds; give two --seeds or more")
    choices = list(dict.fromkeys(options.choose or ()))
    unknown = [name for name in choices if name not in {arm.title for arm in arms}]
    if unknown or len(choices) == 1 or (choices and len(folds) < 2):
        names = ", ".join(arm.title for arm in arms)
        raise InputError(f"--choose {' '.join(choices)}: expected two or more of {names}, and two folds or more")
    groups = [arm.together(options.seeds) for arm in arms if options.together and not arm.cohort]
    out = Path(options.out) / ("quick" if options.quick else "full")
    data = gather(options.data, Path(options.out) / "cases")
    if not options.results:
        caches = {arm.grid: training.prepare(data, Path(options.out), arm.grid) for arm in arms}
        known = {entry.patient for entry in read_manifest(caches[arms[0].grid]).entries}
        trained = {one.name: one for arm in arms for one in arm.trained}
        teachers = {arm.name: arm for arm in [arm.teacher or arm for arm in trained.values()] if arm.cohort}
        for teacher in teachers.values():
            run = training.run_folder(teacher, out, 0, 0)
            cache = training.cohort_cache(teacher, options.labels, known, Path(options.out), options.jobs)
            training.train_arm(teacher, cache, out, 0, training.TEACHER_SEED, short=options.quick)
            training.score(data, [str(run)], run, teacher=True)
        pupils = [arm for arm in trained.values() if not arm.cohort]
        for seed, fold, arm in itertools.product(options.seeds, folds, pupils):
            training.train_arm(arm, caches[arm.grid], out, fold, seed, short=options.quick)
        averages = [(arm, seed) for arm in arms for seed in options.seeds if arm.networks]
        averages += [(group, options.seeds[0]) for group in groups]
        for fold, (arm, seed) in itertools.product(folds, averages):
            training.predict_together(arm, data, caches[arm.grid], out, fold, seed)
    rows = collect([*arms, *groups], Path(options.out), out, folds, options.seeds, choices)
    if not rows:
        raise InputError(f"{out}: there is no finished run of these arms, folds and seeds; leave out --results")
    print(table(rows))
    print(f"\n{area_table(rows)}")
    if choices and rows[-1]["arm"] == "chosen":
        print(f"\nchosen: {rows[-1]['why']}")
    if options.json:
        write_json(options.json, {"schema": 1, "folds": folds, "seeds": options.seeds, "arms": rows})
        print(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
