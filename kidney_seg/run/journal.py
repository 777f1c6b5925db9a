"""The journal of a run: one line per event, and what follows from it."""

from __future__ import annotations

import json
from pathlib import Path

from data_prep.errors import InputError

JOURNAL = "journal.jsonl"


def history_of(events: list[dict], running: dict | None = None) -> list[dict]:
    """Return one row an epoch of every attempt in a run's events, for tables and curves.

    `step` counts the run's steps up to here: rounds follow on each other, attempts of one round start together.
    `running` is an attempt that the journal does not hold yet, in the same form.
    """
    rows, offset, longest, at = [], 0, 0, 0
    attempts = [event for event in events if event["event"] == "attempt"]
    for event in [*attempts, running] if running else attempts:
        if event["round"] != at:
            offset, longest, at = offset + longest, 0, event["round"]
        longest = max(longest, event["steps"])
        place = {"round": at, "start": event["attempt"]}
        rows += [{**place, "step": offset + row["steps"], **row} for row in event["history"]]
    return rows


def rounds_of(events: list[dict], history: list[dict]) -> list[dict]:
    """Return the rounds that were played, with the `step` of `history` at which each ended."""
    ends = {row["round"]: row["step"] for row in history}
    return [{**event, "step": ends[event["round"]]} for event in events if event["event"] == "round"]


def read_events(root: str | Path) -> list[dict]:
    """Return what has happened in a run folder and still counts, in order; of a run that goes on, too.

    That is the journal without what a later line takes back. InputError where the journal is damaged; no line where
    there is none yet.
    """
    return counting(read_journal(Path(root)))


def read_journal(root: Path) -> list[dict]:
    path = root / JOURNAL
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); restore it or begin a new run with --out") from None


def counting(lines: list[dict]) -> list[dict]:
    counting: list[dict] = []
    for line in lines:
        if line["event"] == "taken back":
            del counting[line["to"] :]
        else:
            counting.append(line)
    return counting
