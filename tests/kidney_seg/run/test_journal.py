"""The journal: events, their JSON lines, and what follows from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_prep.errors import InputError
from kidney_seg.run.journal import (
    AttemptTrained,
    Journal,
    ModelWritten,
    RoundPlayed,
    RunStatus,
    TakenBack,
    Tested,
    read_events,
)

OLD = Path(__file__).parents[2] / "made_by_0_1" / "run"
EVENTS = [
    AttemptTrained(0, 0, steps=4, history=[{"steps": 2, "loss": 1.0}, {"steps": 4, "loss": 0.5}]),
    AttemptTrained(0, 1, steps=4, history=[{"steps": 4, "loss": 0.4}], patients=["a", "b"]),
    ModelWritten("sha"),
    RoundPlayed(0, accepted=True, attempt=1),
    AttemptTrained(1, 0, steps=6, history=[{"steps": 6, "loss": None}]),
    RoundPlayed(1, accepted=False),
]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    made = Journal(tmp_path)
    for event in EVENTS:
        assert made.note(event) == event
    return made


def test_events_are_read_back(journal: Journal) -> None:
    again = Journal(journal.path.parent)
    assert again.events == journal.events == EVENTS
    assert again.all_of(RoundPlayed, accepted=True) == [EVENTS[3]]
    assert again.last(AttemptTrained, round=0) == EVENTS[1]
    assert again.last(AttemptTrained, round=2) is None


def test_lines_are_plain_json(journal: Journal) -> None:
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["attempt", "attempt", "model", "round", "attempt", "round"]
    assert lines[2] == {"event": "model", "sha256": "sha"} and lines[1]["patients"] == ["a", "b"]
    assert read_events(journal.path.parent) == [event.to_line() for event in EVENTS]


def test_history_and_rounds_count_the_steps_of_the_run(journal: Journal) -> None:
    history = journal.history(AttemptTrained(2, 0, steps=3, history=[{"steps": 3, "loss": 0.1}]))
    assert [(row["round"], row["start"], row["step"]) for row in history] == [
        (0, 0, 2),
        (0, 0, 4),
        (0, 1, 4),
        (1, 0, 10),  # after the 4 steps of round 0
        (2, 0, 13),
    ]
    assert [(row["round"], row["accepted"], row["step"]) for row in journal.rounds(history)] == [
        (0, True, 4),
        (1, False, 10),
    ]


def test_what_is_taken_back_no_longer_counts(journal: Journal) -> None:
    journal.note(TakenBack(4, "damaged"))
    assert journal.events == Journal(journal.path.parent).events == EVENTS[:4]
    assert len(journal.path.read_text().splitlines()) == 7  # nothing is deleted


def test_a_run_is_finished_when_it_is_tested(journal: Journal) -> None:
    assert journal.status is RunStatus.TRAINING
    journal.note(Tested(3))
    assert journal.status is Journal(journal.path.parent).status is RunStatus.FINISHED


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert Journal(tmp_path / "absent").events == [] and read_events(tmp_path) == []


def test_the_journal_of_version_0_1(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (OLD / "journal.jsonl").read_text().splitlines()]
    assert read_events(OLD) == lines
    assert [list(event) for event in read_events(OLD)] == [list(line) for line in lines]  # written in the same order


def test_keys_of_another_version_are_ignored_and_kept(journal: Journal) -> None:
    path, line = journal.path, '{"event": "tested", "cases": 2, "seconds": 9}'
    path.write_text(path.read_text() + line + "\n")
    again = Journal(path.parent)
    assert again.events[-1] == Tested(2)
    again.note(ModelWritten("t"))
    assert path.read_text().splitlines()[-2] == line


@pytest.mark.parametrize("line", ["{", "[1]", "7", '{"event": "danced"}', '{"round": 1}', '{"event": "attempt"}'])
def test_damage_is_named_in_one_line(journal: Journal, line: str) -> None:
    journal.path.write_text(journal.path.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"journal\.jsonl: damaged") as caught:
        Journal(journal.path.parent)
    assert caught.value.path == journal.path and "\n" not in str(caught.value)
