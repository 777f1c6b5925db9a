"""The content of a report of predictions without truth, from their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.json_files import read_json
from data_prep.files.typed import typed
from kidney_seg.report.data import ReportData
from kidney_seg.report.files import Files, WithoutTruth, find_images

Record = Mapping[str, Any]


def find_records(folder: Path) -> dict[str, Record]:
    """Return the records of predict in a folder, by case; those of other programs are skipped."""
    found: dict[str, Record] = {}
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            content = read_json(path, "record")
        except InputError:
            continue
        if isinstance(content, dict) and {"program", "labels", "volumes_ml", "kidneys", "tumors"} <= set(content):
            found[path.stem] = content
    return found


def of_predictions(folder: Path, records: Mapping[str, Record], images: str | Path | None) -> ReportData:
    """Return the content of a report of predictions; KeyError or ValueError for records that lack something."""
    scans = find_images(images) if images is not None else {}
    cases: list[dict[str, Any]] = []
    files: dict[str, Files] = {}
    flags: Counter[str] = Counter()
    try:
        for name, record in records.items():
            cases.append(_row(name, record))
            flags.update({one["flag"] for one in record.get("flags", ())})
            if name in scans:
                files[name] = WithoutTruth(scans[name], None, folder / typed(str, record["labels"]))
    except (ValueError, AttributeError) as error:
        raise InputError(f"a record cannot be used ({error}); predict again", path=folder) from None
    said = dict.fromkeys(text for record in records.values() for text in record.get("trained_on", ()))
    found = sum(bool(row["tumors"]) for row in cases)
    facts = {
        "Scans": str(len(cases)),
        "Model": "; ".join(said) or "trained on patients of unknown origin",
        "With tumor": f"{found} of {len(cases)}",
        "Flags": ", ".join(f"{flag} {count}" for flag, count in flags.most_common()) or "none",
    }
    return ReportData(
        title=f"Predictions {folder.resolve().name}",
        facts=tuple(facts.items()),
        table1=(),
        cases=tuple(cases),
        further=(),
        detection=(),
        detection_by_tumor=False,
        false_tumors={},
        diameter_is_measured=True,
        warnings=("Nothing here is compared with a truth: these are a model's predictions.",),
        files=files,
        scored=False,
    )


def _row(name: str, record: Record) -> dict[str, Any]:
    sides = {kidney["side"]: kidney["volume_ml"] for kidney in record["kidneys"]}
    return {
        "case": name,
        "patient": name,
        "tumor": None,
        "kidney": None,
        "predicted_tumor_ml": record["volumes_ml"]["tumor"],
        "predicted_kidney_ml": record["volumes_ml"]["kidney"],
        **{f"{side}_ml": sides.get(side) for side in ("left", "right")},
        "tumors": len(record["tumors"]),
        "diameter_mm": max((one["diameter_mm"] for one in record["tumors"]), default=None),
        "tumor_ml": None,
        "flags": ", ".join(dict.fromkeys(one["flag"] for one in record.get("flags", ()))),
    }
