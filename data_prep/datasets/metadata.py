"""Read a data set's `kits.json` or `kits23.json`, reduced to a short list of plain values per case."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from data_prep.geometry.types import triple

METADATA_FILES = ("kits23.json", "kits.json")  # if both list a case, the first counts
LARGEST_BYTES = 64 << 20  # the published files have about 1 MB

# Of use for splits and tables of results. Left out: dates, free text, other illnesses, the course after surgery.
KEPT = (
    "age_at_nephrectomy",
    "gender",
    "body_mass_index",
    "radiographic_size",
    "pathologic_size",
    "malignant",
    "pathology_t_stage",
    "tumor_histologic_subtype",
    "tumor_necrosis",
    "tumor_isup_grade",
    "surgical_procedure",
    "captured_pixel_width",
    "captured_slice_thickness",
)
SPACINGS = ("z_spacing", "y_spacing", "x_spacing")  # mm, from `voxel_spacing`, named as there
OLDEST_SHOWN = 89  # higher ages single a patient out
_TERM = re.compile(r"[A-Za-z0-9_.,<>=+-]{1,40}")  # a term of a list such as clear_cell_rcc, never a sentence


def read_metadata(root: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Read the metadata files in `root` or, if it has none, in its parent; return (values by case, problems).

    Values are numbers, booleans and single terms of the fields `KEPT` and `SPACINGS`; other fields and records without
    a `case_id` are skipped. Ages above 89 become 89. An absent file is no problem; one that cannot be read, or is not a
    list of records, gives one line and is not used.
    """
    found: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for folder in (root, root.resolve().parent):
        paths = [path for name in METADATA_FILES if (path := folder / name).is_file()]
        for path in paths:
            try:
                records = _records(path)
            except (OSError, ValueError, RecursionError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                problems.append(f"{path.name}: cannot be used ({reason})")
                continue
            for name, record in records.items():
                found.setdefault(name, _plain_values(record))
        if paths:
            break
    return found, problems


def _records(path: Path) -> dict[str, dict[str, Any]]:
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError("larger than 64 MiB")
    content = given = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, dict):  # by case, as some copies have it
        content = [{"case_id": name, **record} for name, record in content.items() if isinstance(record, dict)]
    if not isinstance(content, list):
        raise ValueError("expected a list of records, one for each case")
    records = {
        record["case_id"]: record
        for record in content
        if isinstance(record, dict) and isinstance(record.get("case_id"), str)
    }
    if given and not records:
        raise ValueError("no record has a case_id")
    return records


def _plain_values(record: dict[str, Any]) -> dict[str, Any]:
    spacing = record.get("voxel_spacing")
    given = {**record, **(spacing if isinstance(spacing, dict) else {})}
    values = {name: given[name] for name in (*KEPT, *SPACINGS) if _is_plain(given.get(name))}
    if isinstance(age := values.get("age_at_nephrectomy"), (int, float)):
        values["age_at_nephrectomy"] = min(age, OLDEST_SHOWN)
    return values


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return _TERM.fullmatch(value) is not None
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int)  # also bool


def expected_spacing_mm(metadata: dict[str, Any] | None) -> tuple[float | None, float | None, float | None]:
    """Return the voxel spacing (z, y, x) in mm of the metadata, None for each axis that they lack.

    From `voxel_spacing`, else in plane from `captured_pixel_width`. `captured_slice_thickness` is not used: slices may
    overlap.
    """
    values = metadata or {}
    width = values.get("captured_pixel_width")
    z, y, x = (values.get(name, default) for name, default in zip(SPACINGS, (None, width, width), strict=True))
    return triple(float(mm) if isinstance(mm, (int, float)) and mm > 0 else None for mm in (z, y, x))
