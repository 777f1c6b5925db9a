"""A look at a run, while it goes on or afterwards: `python -m kidney_seg.watch RUN`, or `show(RUN)` in a notebook."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from data_prep.cli import command
from data_prep.errors import InputError
from data_prep.files.json_files import read_json
from kidney_seg.run.journal import read_events

REFRESH_SECONDS = 5.0


def status(run: str | Path) -> str:
    """Return where a run is, as lines of text: its rounds and their scores, and Table 1 once it is finished.

    InputError where `run` is no run folder. Takes no lock, so it can be asked while the run goes on.
    """
    run = Path(run)
    if not (run / "config.json").is_file():
        raise InputError(f"{run}: is no run folder (no config.json); give the --out of a training")
    config = read_json(run / "config.json", "run's settings")
    events = read_events(run)
    judges = config["rounds"]["stop_on"]
    lines = [f"{run}: {config['rounds']['mode']} training, rounds judged on the {judges} patients"]
    lines.append(f"{'round':>5} {'attempt':>7} {'steps':>6} {'loss':>7} {'kidney':>7} {'tumor':>7} {'score':>7}")
    for event in events:
        if event["event"] == "attempt":
            cells = [event["history"][-1]["loss"], event["kidney"], event["tumor"], event["score"]]
            shown = " ".join("      -" if cell is None else f"{cell:7.3f}" for cell in cells)
            trouble = f"  {event['trouble']}" if event["trouble"] else ""
            lines.append(f"{event['round']:5} {event['attempt'] + 1:7} {event['steps']:6} {shown}{trouble}")
        elif event["event"] == "round":
            lines[-1] += f"  round {event['round']} " + ("accepted" if event["accepted"] else "rejected")
    if not any(event["event"] == "tested" for event in events):
        return "\n".join([*lines, "the run is not finished"])
    from kidney_seg.evaluate.tables import format_run

    scores = read_json(run / "evaluation" / "test" / "scores.json", "scores of the test set")
    return "\n".join([*lines, "", format_run(scores)])


def show(run: str | Path, follow: bool = False) -> None:
    """Show a run in a notebook: `status`, the curves, the worst cases of the last attempt, the test overlays.

    `follow` shows it again every few seconds until the run is finished, or the cell is stopped.
    """
    from IPython.display import Image, clear_output, display

    run = Path(run)
    while True:
        text = status(run)
        if follow:
            clear_output(wait=True)
        print(text)
        for path in pictures(run):
            display(Image(filename=str(path)))
        if not follow or "the run is not finished" not in text:
            return
        time.sleep(REFRESH_SECONDS)


def pictures(run: Path) -> list[Path]:
    """Return the pictures that a run has so far: its curves, the worst cases of the last attempt, the test overlays."""
    worst = sorted((run / "rounds").glob("*/worst*.png"), key=lambda path: path.stat().st_mtime)[-1:]
    found = [run / "progress.png", *worst, run / "evaluation" / "test" / "overlays.png"]
    return [path for path in found if path.is_file()]


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.watch",
        description="Show where a run is: rounds, scores, and Table 1 once it is finished; and which pictures it has.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, of a training that goes on or is finished")
    parser.add_argument("--follow", action="store_true", help="show it again whenever it changes, until it is finished")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """The command; see the module's first line."""
    return _watch(Path(arguments.run), arguments.follow)


def _watch(run: Path, follow: bool) -> int:
    shown: Any = None
    while True:
        text = status(run)
        if text != shown:
            print(text)
            for path in pictures(run):
                print(path)
            shown = text
        if not follow or "the run is not finished" not in text:
            return 0
        time.sleep(REFRESH_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
