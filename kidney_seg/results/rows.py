"""One row per scan of a folder of predictions, from its records, and the table of these."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from data_prep.files.names import table_cell
from data_prep.files.typed import typed
from kidney_seg.results.record import FAILED, read_failure, read_record

_FIRST = ("scan", "status", "flags")
HEADER = ",".join(_FIRST)  # how a table begins
_SIDES = ("right", "left", "unknown")


@dataclass(frozen=True)
class Row:
    """One scan.

    error: why it could not be predicted, else empty. kidneys: (side, mL with tumor); tumors: (side, mL, mm), largest
    first. flags: (code, sentence). files: what was written, as relative paths. labels_sha256: of its label file.
    """

    name: str
    error: str = ""
    kidney_ml: float | None = None
    tumor_ml: float | None = None
    kidneys: tuple[tuple[str, float], ...] = ()
    tumors: tuple[tuple[str, float, float], ...] = ()
    confidence: float | None = None
    flags: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    model: str = ""
    data: str = ""
    license: str = ""
    seconds: float | None = None
    files: tuple[str, ...] = ()
    labels_sha256: str = ""

    @property
    def rank(self) -> tuple[Any, ...]:
        """Order of the page: what failed, what has flags, the rest; by name."""
        return (not self.error, not self.flags, self.name)


def read_rows(folder: str | Path) -> list[Row]:
    """Return the rows of a folder of predictions by name; empty if there is no record in it.

    A record that is damaged, or whose label file does not exist any more, gives none.
    """
    folder = Path(folder)
    rows: dict[str, Row] = {}
    for path in sorted(folder.glob("*.json")):
        row = _cached(_row_of, path)
        if row is not None and row.files and (folder / row.files[0]).exists():
            rows[row.name] = row
    for path in sorted((folder / FAILED).glob("*.json")):
        if (error := _cached(read_failure, path)) is not None:
            rows[path.stem] = Row(path.stem, error)
    return [rows[name] for name in sorted(rows)]


def _cached(read: Any, path: Path) -> Any:
    try:
        found = path.stat()
    except OSError:  # another process was quicker
        return None
    return _read_once(read, path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4096)
def _read_once(read: Any, path: Path, mtime_ns: int, size: int) -> Any:
    return read(path)


def _row_of(path: Path) -> Row | None:
    record = read_record(path)
    if record is None:
        return None
    try:
        return _row(path.name.removesuffix(".json"), record)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _row(name: str, record: Mapping[str, Any]) -> Row:
    labels = typed(str, record["labels"])
    files: dict[str, str] = record["files"]
    volumes = typed(dict[str, float], record["volumes_ml"])
    about = typed(dict[str, str], record.get("model") or {})
    models = typed(list[str], record.get("made_by", {}).get("models", []))
    named = about.get("name") or (models[0][:12] if models else "")
    flags = [typed(dict[str, str], flag) for flag in record["flags"]]
    return Row(
        name,
        kidney_ml=volumes["kidney"],
        tumor_ml=volumes["tumor"],
        kidneys=tuple((typed(str, one["side"]), typed(float, one["volume_ml"])) for one in record["kidneys"]),
        tumors=tuple(
            (typed(str, one["side"]), typed(float, one["volume_ml"]), typed(float, one["diameter_mm"]))
            for one in record["tumors"]
        ),
        confidence=typed(float | None, record.get("tumor_confidence")),
        flags=tuple((flag["flag"], flag["what"]) for flag in flags),
        notes=typed(tuple[str, ...], record.get("notes", ())),
        model=named + f" and {len(models) - 1} more" * (len(models) > 1),
        data=about.get("data", ""),
        license=about.get("license", ""),
        seconds=typed(float | None, record.get("seconds")),
        files=(labels, *sorted(file for file in files if file != labels)),
        labels_sha256=files.get(labels, ""),
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as CSV: one line per scan, an empty field for what is unknown.

    Kidneys are whole, with their tumors; `kidney_ml` and `tumor_ml` are tissue. Each tumor has three columns. Text that
    a spreadsheet would take for a formula gets an apostrophe in front.
    """
    most = max(1, *(len(row.tumors) for row in rows)) if rows else 1
    numbers = range(1, most + 1)
    columns = [
        *_FIRST, "kidney_ml", "tumor_ml", "kidneys", *(f"{side}_kidney_ml" for side in _SIDES), "tumors",
        *(f"tumor_{number}_{what}" for number in numbers for what in ("side", "ml", "mm")),
        "tumor_confidence", "model", "license", "seconds", "error",
    ]  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({column: table_cell(value) for column, value in _cells(row).items()})
    return text.getvalue()


def _cells(row: Row) -> dict[str, object]:
    done = not row.error
    cells: dict[str, object] = {
        "scan": row.name,
        "status": "done" if done else "failed",
        "flags": " ".join(dict.fromkeys(code for code, _ in row.flags)),
        "kidney_ml": row.kidney_ml,
        "tumor_ml": row.tumor_ml,
        "kidneys": len(row.kidneys) if done else None,
        "tumors": len(row.tumors) if done else None,
        "tumor_confidence": row.confidence,
        "model": row.model,
        "license": row.license,
        "seconds": row.seconds,
        "error": " ".join(row.error.split()),
    }
    for side in _SIDES:
        found = [ml for where, ml in row.kidneys if where == side]
        cells[f"{side}_kidney_ml"] = round(sum(found), 3) if found else None
    for number, (side, ml, mm) in enumerate(row.tumors, 1):
        cells |= {f"tumor_{number}_side": side, f"tumor_{number}_ml": ml, f"tumor_{number}_mm": mm}
    return cells
