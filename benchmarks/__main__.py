"""All that is measured, in one table: `python -m benchmarks [--only NAME ...] [--quick] [--json FILE]`."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.support.machine import Others, describe, rate_now
from benchmarks.support.page import write_place
from benchmarks.support.rows import MARK, NOISY, Row, compared, markdown, table
from data_prep.cli import command
from data_prep.errors import InputError
from data_prep.files.json_files import read_json, write_json

BENCHMARKS = {  # name on the command line: module, with `WORK`, `rows(quick)`, and the packages it `NEEDS`
    "machine": "support.machine",
    "start": "startup",
    "build": "data.build_cases",
    "pipeline": "training.inputs",
    "step": "training.step",
    "training": "training.__main__",
    "inference": "prediction.inference",
    "predict": "prediction.__main__",
    "others": "prediction.other_networks",
    "metrics": "data.metrics",
    "growth": "data.scaling",
    "demo": "training.demo_share",
}
OTHERS = (  # commands of their own, which measure other things
    "benchmarks.serving: a model server under load",
    "benchmarks.estimates: time and cost on paper",
    "benchmarks.label_round_trip: what the network's grid costs in Dice",
    "benchmarks.real_slices: training on real slices",
    "benchmarks.paper_on_kits: the paper's experiment on stacks of slices of real patients",
    "benchmarks.whole_scans: a model judged on whole scans, healthy people's included",
)
BUSY = 0.10  # share of the processors in others' use, from which it is said
DRIFT = 0.15  # change of the matrix product's rate, likewise


def measure(names: list[str], quick: bool) -> list[dict]:
    """Run the benchmarks, print each table; return what was found, one entry a benchmark."""
    modules = {name: importlib.import_module(f"benchmarks.{BENCHMARKS[name]}") for name in names}
    for name, module in modules.items():
        for package in getattr(module, "NEEDS", ()):
            if importlib.util.find_spec(package) is None:
                raise InputError(f"{name}: {package} is not installed; run: pip install -r requirements-bench.txt")
    found = []
    for name, module in modules.items():
        print(f"\n{name}: {module.WORK}", flush=True)
        before, others, start = rate_now(), Others(), time.monotonic()
        rows: list[Row] = list(module.rows(quick))
        if quick:  # goals are for the whole work
            rows = [replace(row, goal="") for row in rows]
        entry = {
            "name": name,
            "seconds": round(time.monotonic() - start, 1),
            "others_share": round(others.share(), 3),
            "product_rate": [round(before, 1), round(rate_now(), 1)],
            "rows": [asdict(row) for row in rows],
        }
        found.append(entry)
        print(table(rows))
        print(f"({entry['seconds']:.0f} s{_doubt(entry)})", flush=True)
    return found


def _doubt(entry: dict) -> str:
    """Return what speaks against the figures of one benchmark."""
    doubts = []
    if entry["others_share"] > BUSY:
        doubts.append(f"others used {100 * entry['others_share']:.0f} % of the processors")
    low, high = sorted(entry["product_rate"])
    if low < (1 - DRIFT) * high:
        doubts.append(f"the matrix product's rate was {low:.0f} at one end and {high:.0f} GFLOP/s at the other")
    noisy = sum(Row(**row).noisy for row in entry["rows"])
    if noisy:
        doubts.append(f"{noisy} rows marked {MARK} varied by more than {100 * NOISY:.0f} %")
    return "; too noisy to tell: " + ", ".join(doubts) if doubts else ""


def compare(old: Path, new: Path) -> str:
    """Return two files of `--json` side by side, with what differs between their machines."""
    runs = [_read(path) for path in (old, new)]
    lines = [
        f"{key}: {runs[0]['machine'].get(key)} -> {value}"
        for key, value in runs[1]["machine"].items()
        if runs[0]["machine"].get(key) != value
    ]
    if runs[0]["quick"] != runs[1]["quick"]:
        lines.append("one of the two is a --quick run: its work is another")
    rows = [[Row(**row) for entry in run["benchmarks"] for row in entry["rows"]] for run in runs]
    return "\n".join([*lines, compared(*rows)])


def tables(*paths: Path) -> str:
    """Return files of `--json` as tables for a page: of each the machine, then one table per benchmark."""
    return "\n\n".join(_tables(path) for path in paths)


def _tables(path: Path) -> str:
    run = _read(path)
    about = "; ".join(f"{key} {value}" for key, value in run["machine"].items() if key != "system")
    lines = [f"Measured on: {about}. A ratio compares with another way of the same table, in the same turns."]
    for entry in run["benchmarks"]:
        if entry["name"] not in BENCHMARKS:
            raise InputError(f"unknown benchmark {entry['name']!r}; expected {', '.join(BENCHMARKS)}", path=path)
        work = importlib.import_module(f"benchmarks.{BENCHMARKS[entry['name']]}").WORK
        doubt = _doubt(entry).removeprefix("; ")
        said = f"`--only {entry['name']}`: {work}." + (f" ({doubt})" if doubt else "")
        lines += [said, markdown([Row(**row) for row in entry["rows"]])]
    return "\n\n".join(lines)


def _read(path: Path) -> dict:
    run = read_json(path, "result of --json")
    try:
        return {key: run[key] for key in ("machine", "quick", "benchmarks")}
    except (KeyError, TypeError):
        raise InputError(f"{path}: expected a file that --json of this command wrote") from None


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the project against yardsticks of the same run: the machine, PyTorch, plain copies. "
        "Each way runs in a process of its own, turn by turn; figures are medians, spreads half the distance between "
        f"the quartiles; {MARK} marks what varied too much to tell.",
        epilog=f"Commands of their own: {'; '.join(OTHERS)}.",
    )
    parser.add_argument("--only", nargs="+", choices=tuple(BENCHMARKS), metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="tiny work: whether all of it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine, versions and all rows")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"), help="two such files side by side")
    parser.add_argument(
        "--tables", nargs="+", type=Path, metavar="FILE", help="measure nothing: such files as tables for a page"
    )
    parser.add_argument("--into", metavar="PAGE", help="with --tables: also write them to their place in a page")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """The command; see the module's first line."""
    if options.into and not options.tables:
        raise InputError("--into: writes the tables; give --tables FILE with it")
    if options.tables:
        text = tables(*options.tables)
        print(text)
        if options.into:
            write_place(options.into, "benchmarks", text)
        return 0
    if options.compare:
        print(compare(*options.compare))
        return 0
    machine = describe()
    print("\n".join(f"{key}: {value}" for key, value in machine.items()))
    found = measure(options.only or list(BENCHMARKS), options.quick)
    if options.json:
        run = {"machine": machine, "quick": options.quick, "benchmarks": found}
        write_json(options.json, run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
