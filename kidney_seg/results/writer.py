"""Write the table and the page of a folder of predictions; both are whole at any moment."""

from __future__ import annotations

import os
import time
from pathlib import Path

from data_prep.errors import InputError
from data_prep.files.atomic import write_file
from data_prep.files.outputs import check_outputs, has_text
from kidney_seg.results.page import TITLE, page
from kidney_seg.results.record import FAILED
from kidney_seg.results.rows import HEADER, read_rows, table

SUMMARY, OVERVIEW = "summary.csv", "overview.html"
_OURS = {SUMMARY: has_text(HEADER.encode()), OVERVIEW: has_text(TITLE.encode())}
_MOST_TURNS = 5
_QUICK_S, _SHARE = 0.5, 20  # of writing: what takes less is done each time; else a twentieth of the time


def check_results(folder: str | Path) -> None:
    """Raise InputError unless the table and the page may be written into a folder, see `check_outputs`."""
    for name, ours in _OURS.items():
        check_outputs([Path(folder) / name], ours=ours)


def write_results(folder: str | Path) -> tuple[Path, Path]:
    """Write `summary.csv` and `overview.html` of a folder of predictions from its records; return both paths.

    Other processes may do the same at once: what they record meanwhile is written as well. InputError if the folder has
    no record, or a file of that name that this program did not write.
    """
    folder = Path(folder)
    check_results(folder)
    summary, overview = folder / SUMMARY, folder / OVERVIEW
    for _ in range(_MOST_TURNS):
        before = _state(folder)
        rows = read_rows(folder)
        if not rows:
            raise InputError("no record of a prediction; give the --out of python -m kidney_seg.predict", path=folder)
        for path, content in (
            (summary, table(rows).encode(errors="backslashreplace")),
            (overview, page(folder, rows).encode(errors="backslashreplace")),
        ):
            if not path.exists() or path.read_bytes() != content:
                write_file(path, content)
        if _state(folder) == before:
            break
    return summary, overview


class Results:
    """The table and the page of a batch that runs, written after each scan.

    With thousands of scans not after each: writing takes at most a twentieth of the time. None writes nothing.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.next_s = 0.0

    def update(self) -> None:
        """Write both, unless this was done a moment ago."""
        begun = time.monotonic()
        if self.folder is None or begun < self.next_s or not read_rows(self.folder):
            return
        write_results(self.folder)
        ended = time.monotonic()
        self.next_s = ended + _SHARE * (ended - begun - _QUICK_S)

    def finish(self) -> None:
        """Write both as they are in the end; nothing if no scan was recorded."""
        if self.folder is not None and self.folder.is_dir() and read_rows(self.folder):
            write_results(self.folder)


def _state(folder: Path) -> set[tuple[str, int]]:
    found = set()
    for place in (folder, folder / FAILED):
        try:
            found |= {
                (entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(place) if entry.name.endswith(".json")
            }
        except FileNotFoundError:
            continue
    return found
