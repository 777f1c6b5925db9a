"""The journal of a run: its events, one JSON line each, and what follows from them. The only reader and writer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from data_prep.errors import InputError
from data_prep.files.atomic import write_file
from data_prep.files.json_files import parse_json
from data_prep.files.typed import typed
from kidney_seg.run import layout

Epoch = dict[str, int | float | str | None]  # `steps`, `loss` and others


@dataclass(frozen=True)
class Event:
    """Base of the events. Each has the name that its lines carry; its fields are the other keys of the line."""

    name: ClassVar[str]
    kinds: ClassVar[dict[str, type[Event]]] = {}

    def __init_subclass__(cls, name: str) -> None:
        cls.name, Event.kinds[name] = name, cls

    def to_line(self) -> dict[str, Any]:
        """Return the content of the event's JSON line."""
        return {"event": self.name, **asdict(self)}


@dataclass(frozen=True)
class AttemptTrained(Event, name="attempt"):
    """A network was trained and validated: a start of round 0, or an attempt of a later round.

    `kidney` to `cases`: see `progressive.validation.Validation`; `weights`, `sha256`: file in the run folder and its
    checksum; `rate`: peak learning rate; `history`: one row per epoch, see `Trainer.fit_round`.
    """

    round: int
    attempt: int
    kidney: float | None = None
    tumor: float | None = None
    score: float = 0.0
    trouble: str | None = None
    cases: list[dict[str, Any]] = field(default_factory=list)
    weights: str = ""
    sha256: str = ""
    patients: list[str] = field(default_factory=list)
    rate: float = 0.0
    devices: int = 1
    steps: int = 0
    history: list[Epoch] = field(default_factory=list)


@dataclass(frozen=True)
class RoundPlayed(Event, name="round"):
    """A round ended with the best of its attempts, which was accepted or rejected."""

    round: int
    accepted: bool = False
    attempt: int = 0
    kidney: float | None = None
    tumor: float | None = None
    score: float = 0.0
    trouble: str | None = None
    steps: int = 0
    weights: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class ModelWritten(Event, name="model"):
    """The best model was written."""

    sha256: str


@dataclass(frozen=True)
class Tested(Event, name="tested"):
    """The test set was scored: the run is finished."""

    cases: int = 0


@dataclass(frozen=True)
class TakenBack(Event, name="taken back"):
    """All events from number `to` on no longer count, because a file that they need is damaged."""

    to: int
    reason: str = ""


class RunStatus(Enum):
    """How far a run is."""

    TRAINING = "training"
    FINISHED = "finished"


Kind = TypeVar("Kind", bound=Event)


class Journal:
    """The events of a run folder that still count, in order; also of a run in progress.

    InputError if the file is damaged. Without a file there are no events.
    """

    def __init__(self, run: str | Path):
        self.path = Path(run) / layout.JOURNAL
        self._lines: list[str] = []
        self.events: list[Event] = []
        try:
            for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else ():
                self._add(line, _parse(parse_json(line)))
        except (OSError, ValueError) as error:
            raise InputError(f"damaged ({error}); restore it or start a new run with --out", path=self.path) from None

    def _add(self, line: str, event: Event) -> None:
        self._lines.append(line)
        if isinstance(event, TakenBack):
            del self.events[event.to :]
        else:
            self.events.append(event)

    def note(self, event: Kind) -> Kind:
        """Append an event and return it as it is read back. The file is replaced: no line is ever half written."""
        line = json.dumps(event.to_line(), allow_nan=False)
        write_file(self.path, ("\n".join([*self._lines, line]) + "\n").encode())
        self._add(line, read := _parse(json.loads(line)))
        return cast(Kind, read)

    def all_of(self, kind: type[Kind], **facts: Any) -> list[Kind]:
        """Return the events of a kind whose fields have these values."""
        events = [event for event in self.events if isinstance(event, kind)]
        return [event for event in events if all(getattr(event, name) == value for name, value in facts.items())]

    def last(self, kind: type[Kind], **facts: Any) -> Kind | None:
        """Return the last of `all_of`, or None."""
        return next(reversed(self.all_of(kind, **facts)), None)

    @property
    def status(self) -> RunStatus:
        """How far the run is."""
        return RunStatus.FINISHED if self.last(Tested) else RunStatus.TRAINING

    def history(self, running: AttemptTrained | None = None) -> list[dict[str, Any]]:
        """Return one row per epoch of every attempt, for tables and curves.

        `step` counts the steps of the run: rounds follow each other, the attempts of a round start at the same step.
        `running`: an attempt that the journal does not hold yet.
        """
        rows, offset, longest, at = [], 0, 0, 0
        for event in [*self.all_of(AttemptTrained), *([running] if running else [])]:
            if event.round != at:
                offset, longest, at = offset + longest, 0, event.round
            longest = max(longest, event.steps)
            place = {"round": at, "start": event.attempt}
            rows += [{**place, "step": offset + int(row["steps"] or 0), **row} for row in event.history]
        return rows

    def rounds(self, history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return one row per played round, with the `step` of `history` at which it ended."""
        ends = {row["round"]: row["step"] for row in history}
        if unknown := [event.round for event in self.all_of(RoundPlayed) if event.round not in ends]:
            raise InputError(f"damaged (round {unknown[0]} has no attempt); restore it", path=self.path)
        return [{**event.to_line(), "step": ends[event.round]} for event in self.all_of(RoundPlayed)]


def read_events(run: str | Path) -> list[dict[str, Any]]:
    """Return the JSON lines of a run's `Journal` that still count."""
    return [event.to_line() for event in Journal(run).events]


def _parse(line: dict[str, Any]) -> Event:
    """Return the event of a line. Keys of other versions are ignored, keys that it lacks have their defaults."""
    kind = Event.kinds.get(typed(str, typed(dict[str, Any], line).get("event")))
    if kind is None:
        raise ValueError(f"unknown event {line['event'][:40]!a}")
    event = typed(kind, {name: line[name] for name in kind.__dataclass_fields__ if name in line}, line["event"])
    if isinstance(event, TakenBack) and event.to < 0:
        raise ValueError(f"taken back to {event.to}, expected 0 or more")
    if isinstance(event, AttemptTrained) and not all(
        type(row.get("steps")) is int and not isinstance(row.get("loss"), str) for row in event.history
    ):
        raise ValueError("a row of history without its steps or loss")
    return event
