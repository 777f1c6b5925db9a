"""The run folder: settings, journal and weights of one training, so that it can be stopped, continued and understood.

`config.json` (settings), `manifest.json` (seed, data, split, versions, device), `journal.jsonl` (one line an event),
`pretrained.keras` (its first weights, if given), `rounds/NN/` (weights, history.csv), `checkpoints/` (of the round in
progress), `best.keras`, `evaluation/`. Every file appears whole or not at all.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.files.atomic import remove_leftovers, replacing
from data_prep.files.checksums import sha256_of
from data_prep.files.json_files import read_json, write_json
from data_prep.files.locks import LOCK, locked
from kidney_seg.config.run_config import Config, differences
from kidney_seg.run.checkpoints import Checkpoints

if TYPE_CHECKING:
    import keras
from kidney_seg.run.environment import environment
from kidney_seg.run.journal import JOURNAL, counting, history_of, read_journal

IDENTITY = ("seed", "data_sha256", "split_sha256", "pretrained_sha256")  # what must be the same when a run goes on


class RunFolder:
    """An opened run folder; made if it is not there, refused if it belongs to another run or is in use."""

    def __init__(self, root: str | Path, config: Config, identity: dict[str, Any]):
        """Open `root` for a run of `config`; `identity` holds the IDENTITY fields and what else tells of the data.

        It has no `pretrained_sha256` where the first weights are random. InputError, with the differing fields, if the
        folder holds a run of others, or of other settings; if it holds something else; if another process trains in it.
        """
        self.root = Path(root)
        self._refuse_foreign(config, identity)
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = ExitStack()  # until `close`, or the process's end
        self._lock.enter_context(locked(self.root, "wait until it has ended, or choose another --out"))
        for folder in (self.root, *(path for path in self.root.rglob("*") if path.is_dir())):
            remove_leftovers(folder)
        if not (self.root / "config.json").is_file():
            manifest = {**identity, "config": config.to_dict(), **environment()}
            write_json(self.root / "manifest.json", manifest)  # alone enough to repeat the run
            write_json(self.root / "config.json", config.to_dict())  # last: its presence says that this is a run
        self._lines = read_journal(self.root)
        self.checkpoints = Checkpoints(self.root / "checkpoints")

    @property
    def events(self) -> list[dict]:
        """What has happened and still counts, in order (see `read_events`)."""
        return counting(self._lines)

    def _refuse_foreign(self, config: Config, identity: dict[str, Any]) -> None:
        if not self.root.exists():
            return
        if not self.root.is_dir():
            raise InputError(f"{self.root}: is a file, expected a run folder or a new name")
        own = {LOCK, "manifest.json"}  # a run that was killed while it made its folder
        if not (self.root / "config.json").is_file():
            if any(entry.name not in own and not entry.name.startswith(".tmp-") for entry in self.root.iterdir()):
                raise InputError(
                    f"{self.root}: holds files but no run (no config.json); choose a new folder with --out"
                )
            return
        old = Config.from_dict(read_json(self.root / "config.json", "run's settings"))
        manifest = read_json(self.root / "manifest.json", "run's manifest")
        old = replace(old, rounds=replace(old.rounds, devices=config.rounds.devices))  # a run may go on with others
        found = differences(old, config)
        found += [
            f"{name}: {manifest.get(name)!r} -> {identity.get(name)!r}"
            for name in IDENTITY
            if manifest.get(name) != identity.get(name)
        ]
        if found:
            raise InputError(
                f"{self.root}: holds a run of other settings ({'; '.join(found)}); "
                "give its settings to go on with it, or a new folder with --out"
            )

    def close(self) -> None:
        """Let other processes use the folder."""
        self._lock.close()

    def note(self, event: str, **facts: Any) -> dict:
        """Add an event to the journal and return it. The whole file is replaced, so no line is ever half written."""
        entry = {"event": event, **facts}
        lines = [json.dumps(line, allow_nan=False) for line in [*self._lines, entry]]
        with replacing(self.root / JOURNAL) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._lines.append(entry)
        return entry

    def find(self, event: str, **facts: Any) -> dict | None:
        """Return the last event of this name whose fields have these values, or None."""
        for entry in reversed(self.events):
            if entry["event"] == event and all(entry.get(name) == value for name, value in facts.items()):
                return entry
        return None

    def round_folder(self, number: int) -> Path:
        """Return (and make) the folder of a round."""
        folder = self.root / "rounds" / f"{number:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def save_weights(self, model: keras.Model, number: int, attempt: int) -> dict[str, str]:
        """Save a round's weights; returns `weights` (path within the run) and `sha256`, to be noted in the journal."""
        path = self.round_folder(number) / f"attempt{attempt}.weights.h5"
        with replacing(path) as temporary:
            model.save_weights(temporary)
        return {"weights": str(path.relative_to(self.root)), "sha256": sha256_of(path)}

    def load_weights(self, model: keras.Model, record: dict) -> None:
        """Load weights that `save_weights` wrote. InputError if the file is missing or not what the journal says."""
        path = self.root / record["weights"]
        if not self.is_whole(record):
            raise InputError(f"{path}: missing or damaged (checksum); run the same command again to train it anew")
        model.load_weights(path)

    def is_whole(self, record: dict) -> bool:
        """Whether the weights of a record are there with the checksum that the journal says."""
        path = self.root / record["weights"]
        return path.is_file() and sha256_of(path) == record["sha256"]

    def take_back_damaged(self, warm_start: str, say: Callable[[str], None]) -> None:
        """Look at the weights that the run still needs; where one is damaged, go back to before it was made.

        What is taken back is trained again, from the same samples, and so ends in the same weights.
        """
        while not self.find("tested"):
            events = self.events
            played = [event for event in events if event["event"] == "round"]
            needed = [event for event in played if event["accepted"]][-1:]
            if warm_start == "last":
                needed += played[-1:]
            since = events.index(played[-1]) if played else 0
            needed += [event for event in events[since:] if event["event"] == "attempt"]
            damaged = [event["weights"] for event in needed if not self.is_whole(event)]
            if not damaged:
                return
            to = next(index for index, event in enumerate(events) if event.get("weights") in damaged)
            place = f"round {events[to]['round']}, attempt {events[to]['attempt'] + 1}"
            say(f"{self.root / damaged[0]}: these weights are missing or damaged; the run goes back to before {place}")
            self.note("taken back", to=to, reason=f"{damaged[0]} is missing or damaged")

    def history(self, number: int | None = None, running: dict | None = None) -> list[dict]:
        """Return one row an epoch of every attempt (of one round, or of all); see `history_of`."""
        rows = history_of(self.events, running)
        return [row for row in rows if number in (None, row["round"])]

    def write_history(self, number: int) -> None:
        """Write `history.csv` of a round: the rows of `history`."""
        rows = self.history(number)
        with (
            replacing(self.round_folder(number) / "history.csv") as temporary,
            open(temporary, "w", newline="") as file,
        ):
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
