"""The paper's experiment on stacks of slices of KiTS patients; see `--help`."""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

from benchmarks.paper_on_kits import patients
from benchmarks.paper_on_kits.arms import ARMS, GROUPS, STEPS, find_names, make_arm
from benchmarks.paper_on_kits.journals import Plan, is_done, plan_of, read_journals, write_journal
from benchmarks.paper_on_kits.tables import tables
from benchmarks.real_slices import training
from benchmarks.real_slices.arms import Arm
from benchmarks.real_slices.gather import gather
from benchmarks.support.page import write_place
from data_prep.cli import command
from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from kidney_seg.config.set_option import add_set_option


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper_on_kits",
        description="Train the paper's method, and the same with one change, on stacks of slices through the tumors of "
        "KiTS patients: fold by fold, arm by arm. Each finished training leaves a journal, a small JSON file; --tables "
        "makes the tables from journals alone. The same command resumes: nothing finished is trained again.",
        epilog="example: python -m benchmarks.paper_on_kits STACKS --out OUT --arms method one-training --seeds 0 1 2",
    )
    parser.add_argument("data", metavar="DIR", nargs="*", help="folders of cases, such as stacks of slices")
    parser.add_argument("--out", metavar="DIR", help="folder for caches and runs")
    parser.add_argument("--journals", metavar="DIR", help="folder for journals (default: OUT/journals)")
    parser.add_argument(
        "--arms",
        nargs="+",
        metavar="NAME",
        default=["paper"],
        help=f"groups ({'; '.join(f'{name}: {what}' for name, what in GROUPS.items())}) or arms: {', '.join(ARMS)} "
        "(default: paper)",
    )
    parser.add_argument(
        "--folds", nargs="+", type=int, default=list(range(training.FOLDS)), metavar="K", help="(default: all)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="S", help="(default: 0)")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help="of each training (default: %(default)s)")
    add_set_option(parser, "settings of all arms, over their own, such as precision=mixed_bfloat16")
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="N", help="processes that simulate patients (default: %(default)s)"
    )
    parser.add_argument("--tables", metavar="JOURNALS", help="train nothing, print the tables of a folder of journals")
    parser.add_argument("--into", metavar="PAGE", help="with --tables: also write them to their place in a page")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """Train what has no journal yet, fold by fold; or print the tables."""
    if options.into and not options.tables:
        raise InputError("--into: writes the tables; give --tables JOURNALS with it")
    if options.tables:
        if options.data or options.out:
            raise InputError("--tables: reads journals alone; leave out the folders of cases and --out")
        text = tables(read_journals(options.tables))
        print(text)
        if options.into:
            write_place(options.into, "benchmarks.paper_on_kits", text)
        return 0
    if not options.data or not options.out:
        raise InputError("expected folders of cases and --out DIR, or --tables JOURNALS")
    if not all(0 <= fold < training.FOLDS for fold in options.folds) or min(options.seeds) < 0:
        given = f"--folds {' '.join(map(str, options.folds))} --seeds {' '.join(map(str, options.seeds))}"
        raise InputError(f"{given}: expected folds from 0 to {training.FOLDS - 1}, and seeds of 0 or more")
    arms = [make_arm(name, options.steps, options.set) for name in find_names(options.arms)]
    for arm in arms:
        arm.config()  # InputError for settings that do not fit, before anything is made
    journals = Path(options.journals or Path(options.out) / "journals")
    work = Experiment(options.data, Path(options.out), journals, options.steps, options.jobs)
    from kidney_seg.training.stop_request import Stopped

    try:
        for seed, fold, arm in itertools.product(options.seeds, options.folds, arms):
            work.do(arm, plan_of(arm, fold, seed, options.steps, options.set))
    except Stopped as stopped:
        print(f"{stopped}: run the same command again to resume", file=sys.stderr)
        return stopped.exit_code
    print(f"all trainings are finished; python -m benchmarks.paper_on_kits --tables {journals}")
    return 0


class Experiment:
    """The trainings of one command: caches are made when the first arm needs them, and checked once."""

    def __init__(self, data: list[str], out: Path, journals: Path, steps: int, jobs: int):
        self.folders, self.out, self.journals, self.jobs = data, out, journals, jobs
        self.runs = out / f"{steps}steps"
        self._data: str | None = None
        self._caches: dict[GridSettings, Path] = {}

    @property
    def data(self) -> str:
        """The folder of all cases."""
        if self._data is None:
            self._data = gather(self.folders, self.out / "cases")
        return self._data

    def do(self, arm: Arm, plan: Plan) -> None:
        """Train one arm on one fold and write its journal, unless it is there."""
        if is_done(plan, self.journals):
            return
        if arm.grid not in self._caches:
            self._caches[arm.grid] = training.prepare(self.data, self.out, arm.grid)
        cache = self._caches[arm.grid]
        split = patients.fewer(
            patients.fold_file(cache, plan.fold), cache, plan.fold, plan.patients, self.out / "splits"
        )
        if plan.simulated == "beside":
            cache, split = patients.beside(self.data, cache, split, self.out, arm.grid, self.jobs)
        teacher = None
        if arm.teacher is not None:
            teacher = training.run_folder(arm.teacher, self.runs, plan.fold, plan.seed)
            learned = training.cohort_cache(arm.teacher, None, set(), self.out, self.jobs)
            training.train_arm(arm.teacher, learned, self.runs, plan.fold, training.TEACHER_SEED, short=False)
        training.train_arm(arm, cache, self.runs, plan.fold, plan.seed, short=False, split_file=split)
        run = training.run_folder(arm, self.runs, plan.fold, plan.seed)
        journal = write_journal(plan, run, teacher, self.journals)
        print(f"{self.journals / plan.file}: {journal.steps} steps, {journal.seconds / 60:.0f} min", flush=True)


if __name__ == "__main__":
    sys.exit(main())
