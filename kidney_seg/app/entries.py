"""The list of scans, each with folder and state; limits on number and size."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.geometry.source_grid import SourceGrid

RECEIVING, LOOKING, CHOOSING, WAITING, RUNNING, DONE, FAILED = (
    "receiving",
    "looking",
    "choosing",
    "waiting",
    "running",
    "done",
    "failed",
)
MOST_GB = 4.0  # of one upload, unless `--max-gb` says otherwise; `uploads` refuses larger ones
MOST_ENTRIES = 20  # their voxels stay on the disk until they are removed


@dataclass(frozen=True)
class Source:
    """What an entry is made of.

    scan: an uploaded file or a path of this computer. labels: a label file that exists; the scan is not segmented then.
    truth: labels to compare with. series: key of one DICOM series; None takes the one that `predict` takes.
    """

    scan: Path
    labels: Path | None = None
    truth: Path | None = None
    series: str | None = None


@dataclass
class Entry:
    """One scan. folder: of its upload (`in`), of its results (`out`) and of what the viewer reads (`view`)."""

    number: int
    kind: str  # such as `NIfTI`; never a name
    folder: Path
    source: Source
    state: str = LOOKING
    choices: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str = ""
    progress: tuple[int, int] = (0, 0)
    begun_s: float = 0.0
    image: dict[str, Any] | None = None  # shape, spacing_mm; when the viewer may read the voxels
    grid: SourceGrid | None = None
    result: dict[str, Any] | None = None
    time: str = field(default_factory=lambda: time.strftime("%H:%M"))

    @property
    def name(self) -> str:
        """The stem of its files."""
        return f"scan-{self.number}"

    @property
    def labels(self) -> Path:
        """Its label file."""
        return self.folder / "out" / f"{self.name}.nii.gz"

    @property
    def is_dicom(self) -> bool:
        """Whether its labels can be a DICOM SEG."""
        return self.kind == "DICOM"

    @property
    def seconds_left(self) -> float | None:
        """A guess of the time left, from the second batch of slices on."""
        done, total = self.progress
        spent = time.monotonic() - self.begun_s
        return None if done < 1 or not total else spent / done * (total - done)

    def public(self) -> dict[str, Any]:
        """Return what the page shows, ready for JSON."""
        return {
            "number": self.number,
            "kind": self.kind,
            "time": self.time,
            "state": self.state,
            "choices": self.choices,
            "notes": self.notes,
            "error": self.error,
            "progress": list(self.progress),
            "seconds_left": self.seconds_left if self.state == RUNNING else None,
            "image": self.image,
            "has_labels": self.result is not None,
            "is_dicom": self.is_dicom,
        }


class Entries:
    """The list, newest last. Numbers are not used again."""

    def __init__(self, root: Path):
        self._root = root
        self._entries: dict[int, Entry] = {}
        self._last = 0

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, kind: str, source: Source | None = None, ending: str = "") -> Entry:
        """Add an entry; without `source`, of an upload that ends in `ending`. InputError if the list is full."""
        if len(self) >= MOST_ENTRIES:
            raise InputError(f"{len(self)} scans are open, which is the most; remove one first", code="too_many")
        self._last += 1
        folder = self._root / f"scan-{self._last}"
        for part in ("in", "out", "view"):
            (folder / part).mkdir(parents=True)
        state = LOOKING if source else RECEIVING
        source = source or Source(folder / "in" / f"scan{ending}")
        self._entries[self._last] = Entry(self._last, kind, folder, source, state)
        return self._entries[self._last]

    def get(self, number: int) -> Entry | None:
        """Return an entry; None if it was removed."""
        return self._entries.get(number)

    def remove(self, entry: Entry) -> None:
        """Remove an entry and all its files; the user's own files stay."""
        self._entries.pop(entry.number, None)
        shutil.rmtree(entry.folder, ignore_errors=True)
