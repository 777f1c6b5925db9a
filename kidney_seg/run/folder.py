"""The run folder: settings, journal and weights of one training, so that it can be stopped, resumed and repeated.

`layout` names its files. Every file appears whole or not at all.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.files.atomic import remove_leftovers, write_file
from data_prep.files.checksums import sha256_of
from data_prep.files.json_files import write_json
from data_prep.files.locks import LOCK, locked
from data_prep.files.plain_paths import plain_folder
from kidney_seg.config.run_config import Config, differences
from kidney_seg.run import layout
from kidney_seg.run.checkpoints import Checkpoints
from kidney_seg.run.environment import environment
from kidney_seg.run.journal import AttemptTrained, Journal, RoundPlayed, RunStatus, TakenBack
from kidney_seg.run.recipe import is_whole, read_manifest

if TYPE_CHECKING:
    import keras

IDENTITY = ("seed", "data_sha256", "split_sha256", "pretrained_sha256")  # must be the same when a run resumes


class RunFolder:
    """An opened run folder. `pretrained`: the `.keras` file with the initial weights; None if they are random."""

    def __init__(self, root: str | Path, config: Config, identity: dict[str, Any]):
        """Open `root` for a run of `config`, or create it.

        `identity`: the IDENTITY fields (`pretrained_sha256` only with initial weights) and others for the manifest.
        InputError if the folder holds a run of other settings or other files, or another process uses it.
        """
        self.root = Path(root)
        self._refuse_foreign(config, identity)
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = ExitStack()  # until `close`, or the process's end
        self._lock.enter_context(locked(self.root, "wait until it has ended, or choose another --out"))
        for folder in (self.root, *(path for path in self.root.rglob("*") if path.is_dir())):
            remove_leftovers(folder)
        if not (self.root / layout.CONFIG).is_file():
            write_json(self.root / layout.MANIFEST, {**identity, "config": config.to_dict(), **environment()})
            write_json(self.root / layout.CONFIG, config.to_dict())  # last: its presence makes this a run
        self.journal = Journal(self.root)
        self.checkpoints = Checkpoints(self.root / layout.CHECKPOINTS)
        self.pretrained = self.root / layout.PRETRAINED if identity.get("pretrained_sha256") else None

    def _refuse_foreign(self, config: Config, identity: dict[str, Any]) -> None:
        if not self.root.exists():
            return
        if not self.root.is_dir():
            raise InputError("is a file, expected a run folder or a new name", path=self.root)
        if not (self.root / layout.CONFIG).is_file():
            own = {LOCK, layout.MANIFEST.name}  # of a run that was killed while it created its folder
            if any(entry.name not in own and not entry.name.startswith(".tmp-") for entry in self.root.iterdir()):
                raise InputError(
                    f"holds files but no run (no {layout.CONFIG}); choose a new folder with --out",
                    path=self.root,
                )
            return
        old = Config.read(self.root / layout.CONFIG)
        manifest = read_manifest(self.root / layout.MANIFEST)
        old = replace(old, rounds=replace(old.rounds, devices=config.rounds.devices))  # may change when a run resumes
        found = differences(old, config)
        found += [
            f"{name}: {manifest.get(name)!r} -> {identity.get(name)!r}"
            for name in IDENTITY
            if manifest.get(name) != identity.get(name)
        ]
        if found:
            raise InputError(
                f"holds a run of other settings ({'; '.join(found)}); "
                "give its settings to resume it, or a new folder with --out",
                path=self.root,
            )

    def close(self) -> None:
        """Let other processes use the folder."""
        self._lock.close()

    def place(self, path: Path) -> Path:
        """Return where a file of `layout` lies; creates its folder."""
        whole = self.root / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        return whole

    def save_weights(self, model: keras.Model, number: int, attempt: int) -> dict[str, Any]:
        """Save the weights of an attempt; returns `weights` and `sha256` for the journal."""
        path = layout.weights(number, attempt)
        with plain_folder() as folder:  # HDF5 on a full disk fails in hundreds of lines
            made = folder / path.name
            model.save_weights(made)
            write_file(self.place(path), made.read_bytes())
        return {"weights": str(path), "sha256": sha256_of(self.root / path)}

    def load_weights(self, model: keras.Model, record: AttemptTrained | RoundPlayed) -> None:
        """Load what `save_weights` wrote. InputError if the file is missing or damaged."""
        path = self.root / record.weights
        if not is_whole(path, record.sha256):
            raise InputError("missing or damaged (checksum); run the same command again to train it again", path=path)
        model.load_weights(path)

    def take_back_damaged(self, warm_start: str, log: Callable[[str], None]) -> None:
        """Check the weights that the run still needs; if some are damaged, go back to before they were trained.

        They are trained again from the same samples, and so end with the same values.
        """
        journal = self.journal
        while journal.status is not RunStatus.FINISHED:
            played = journal.all_of(RoundPlayed)
            since = journal.events.index(played[-1]) if played else 0
            needed: list[AttemptTrained | RoundPlayed] = []
            needed += [event for event in played if event.accepted][-1:]
            if warm_start == "last":
                needed += played[-1:]
            needed += [event for event in journal.events[since:] if isinstance(event, AttemptTrained)]
            damaged = {event.weights for event in needed if not is_whole(self.root / event.weights, event.sha256)}
            if not damaged:
                return
            first = next(event for event in journal.all_of(AttemptTrained) if event.weights in damaged)
            place = f"round {first.round}, attempt {first.attempt + 1}"
            log(f"{self.root / first.weights}: missing or damaged weights; the run resumes before {place}")
            journal.note(TakenBack(journal.events.index(first), f"{first.weights} is missing or damaged"))

    def write_history(self, number: int) -> None:
        """Write `history.csv` of a round: its rows of `Journal.history`."""
        rows = [row for row in self.journal.history() if row["round"] == number]
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
        write_file(self.place(layout.history(number)), text.getvalue().encode())
