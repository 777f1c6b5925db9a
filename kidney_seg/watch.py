"""Show a run in progress or finished: `python -m kidney_seg.watch RUN`, or `show(RUN)` in a notebook."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from data_prep.cli import command
from data_prep.errors import InputError
from kidney_seg.config.run_config import Config
from kidney_seg.run import layout
from kidney_seg.run.journal import AttemptTrained, Journal, RoundPlayed, RunStatus

REFRESH_SECONDS = 5.0


def status(run: str | Path) -> str:
    """Return the rounds of a run and their scores as lines of text, and Table 1 once it is finished.

    Takes no lock, so the run may be in progress. InputError if `run` is no run folder.
    """
    return _look(Path(run))[0]


def _look(run: Path) -> tuple[str, RunStatus]:
    if not (run / layout.CONFIG).is_file():
        raise InputError(f"not a run folder (no {layout.CONFIG}); give the --out of a training", path=run)
    rounds, journal = Config.read(run / layout.CONFIG).rounds, Journal(run)
    lines = [f"{run}: {rounds.mode} training, rounds scored on the {rounds.stop_on} patients"]
    lines.append(f"{'round':>5} {'attempt':>7} {'steps':>6} {'loss':>7} {'kidney':>7} {'tumor':>7} {'score':>7}")
    for event in journal.events:
        if isinstance(event, AttemptTrained):
            cells = [event.history[-1].get("loss") if event.history else None, event.kidney, event.tumor, event.score]
            shown = " ".join("      -" if cell is None else f"{cell:7.3f}" for cell in cells)
            trouble = f"  {event.trouble}" if event.trouble else ""
            lines.append(f"{event.round:5} {event.attempt + 1:7} {event.steps:6} {shown}{trouble}")
        elif isinstance(event, RoundPlayed):
            lines[-1] += f"  round {event.round} " + ("accepted" if event.accepted else "rejected")
    if journal.status is not RunStatus.FINISHED:
        return "\n".join([*lines, "the run is not finished"]), journal.status
    from kidney_seg.evaluate.score_files import read_scores
    from kidney_seg.evaluate.tables import format_run

    scores = read_scores(run / layout.SCORES, "scores of the test set")
    return "\n".join([*lines, "", format_run(scores)]), journal.status


def show(run: str | Path, follow: bool = False) -> None:
    """Show a run in a notebook: `status`, the curves, the worst cases of the last attempt, the test overlays.

    `follow` repeats it every few seconds until the run is finished or the cell is stopped.
    """
    from IPython.display import Image, clear_output, display

    run = Path(run)
    while True:
        text, state = _look(run)
        if follow:
            clear_output(wait=True)
        print(text)
        for path in pictures(run):
            display(Image(filename=str(path)))
        if not follow or state is RunStatus.FINISHED:
            return
        time.sleep(REFRESH_SECONDS)


def pictures(run: Path) -> list[Path]:
    """Return the pictures of a run that exist: curves, worst cases of the last attempt, test overlays."""
    worst = sorted((run / layout.ROUNDS).glob(layout.WORST_CASES), key=lambda path: path.stat().st_mtime)[-1:]
    return [path for path in (run / layout.CURVES, *worst, run / layout.OVERLAYS) if path.is_file()]


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.watch",
        description="Show the rounds and scores of a run, Table 1 once it is finished, and its pictures.",
        epilog="example: python -m kidney_seg.watch run --follow",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, in progress or finished")
    parser.add_argument("--follow", action="store_true", help="show every change until the run is finished")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Run the command."""
    run, shown = Path(arguments.run), None
    while True:
        text, state = _look(run)
        if text != shown:
            print(*(text, *pictures(run)), sep="\n")
            shown = text
        if not arguments.follow or state is RunStatus.FINISHED:
            return 0
        time.sleep(REFRESH_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
