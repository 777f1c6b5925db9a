"""The figures of all scans: means, a table on the screen, CSV, JSON, and one picture a scan."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.whole_scans.measures import HEIGHTS, Levels
from data_prep.files.atomic import replacing
from data_prep.files.json_files import write_json
from data_prep.files.names import table_cell
from data_prep.labels import TUMOR
from kidney_seg.figures.overlays import Example, most_informative_z, overlay_grid
from kidney_seg.figures.style import save_figure
from kidney_seg.metrics.missing import existing, format_score, nan_to_none

if TYPE_CHECKING:
    from data_prep.geometry.volume import Volume

SCHEMA = 1
MUCH_ML = 1.0  # of false tumor, from which a scan counts as a false alarm
MEANS = (
    "kidney_dice", "kidney_dice_filled", "kidney_assd_mm", "kidney_hd95_mm", "tumor_dice", "tumor_assd_mm",
    "tumor_hd95_mm", "false_tumor_ml", *(f"false_tumor_{height}_ml" for height in HEIGHTS), "false_tumors",
)  # fmt: skip
_COLUMNS = {  # of the table: title, digits
    "kidney_dice": ("kidney", 3),
    "kidney_dice_filled": ("filled", 3),
    "kidney_assd_mm": ("ASSD mm", 1),
    "kidney_hd95_mm": ("HD95 mm", 1),
    "tumor_dice": ("tumor", 3),
    "found": ("found", 0),
    "false_tumor_ml": ("false mL", 2),
    "false_tumor_above_ml": ("above", 2),
    "false_tumor_at_ml": ("at", 2),
    "false_tumor_below_ml": ("below", 2),
    "false_tumors": ("objects", 0),
}


def summarize(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the means of the scans with tumor and of the healthy ones, those that there are.

    Each has `scans`, for every name of `MEANS` mean, median and n (NaN is left out), the number of scans with more than
    `MUCH_ML` of false tumor, and of `tumors` and `tumors_found`.
    """
    summary: dict[str, dict[str, Any]] = {}
    for kind in ("tumor", "healthy"):
        own = [row for row in rows if row["kind"] == kind]
        if not own:
            continue
        summary[kind] = {"scans": len(own), "false_alarms": sum(row["false_tumor_ml"] > MUCH_ML for row in own)}
        for name in MEANS:
            values = existing(row.get(name) for row in own)
            if values.size:
                mean, median = float(values.mean()), float(np.median(values))
                summary[kind][name] = {"mean": mean, "median": median, "n": int(values.size)}
        for name in ("tumors", "tumors_found"):
            summary[kind][name] = int(sum(row.get(name, 0) for row in own))
    return summary


def format_table(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one line a scan and the means as text; a hyphen for what a scan does not have."""
    lines = [["scan", *(title for title, _ in _COLUMNS.values())]]
    lines += [
        [row["scan"], *(_cell(_shown(row, name), digits) for name, (_, digits) in _COLUMNS.items())] for row in rows
    ]
    for kind, own in summary.items():
        means = {name: own[name]["mean"] for name in MEANS if name in own} | {"found": _found(own)}
        what = "mean with tumor" if kind == "tumor" else "mean healthy"
        lines.append([what, *(_cell(means.get(name), digits) for name, (_, digits) in _COLUMNS.items())])
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    text = [
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    for kind, own in summary.items():
        what = "scans with tumor" if kind == "tumor" else "healthy scans"
        text.append(f"{own['false_alarms']} of {own['scans']} {what} with more than {MUCH_ML:g} mL of false tumor")
    return "\n".join(text)


def _shown(row: Mapping[str, Any], name: str) -> Any:
    return _found(row) if name == "found" else row.get(name)


def _found(row: Mapping[str, Any]) -> str | None:
    return f"{row['tumors_found']}/{row['tumors']}" if row.get("tumors") else None


def _cell(value: Any, digits: int) -> str:
    return value if isinstance(value, str) else format_score(value, digits)


def write_results(
    rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], details: Mapping[str, Any], out: Path
) -> list[Path]:
    """Write `scans.csv` and `scans.json` (NaN: an empty field, null) into `out`; return both paths."""
    table, report = out / "scans.csv", out / "scans.json"
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            plain = nan_to_none(dict(row))
            writer.writerow({key: round(x, 6) if isinstance(x, float) else table_cell(x) for key, x in plain.items()})
    write_json(report, nan_to_none({"schema": SCHEMA, **details, "summary": summary, "scans": list(rows)}))
    return [table, report]


def draw(volume: Volume, truth: np.ndarray | None, predicted: np.ndarray, row: Mapping[str, Any], path: Path) -> Path:
    """Draw the most informative slice, and by height the one with most tumor where there is false tumor."""
    levels: Levels = (row["lowest_kidney_slice"], row["highest_kidney_slice"])
    per_slice = np.count_nonzero(predicted == TUMOR, axis=(1, 2))
    z = np.arange(len(per_slice))
    places = {"above": z > levels[1], "at": (z >= levels[0]) & (z <= levels[1]), "below": z < levels[0]}
    places["unknown"] = np.full(z.shape, levels[0] != levels[0])
    chosen = {most_informative_z(predicted if truth is None else truth, predicted): ""}
    for height, here in places.items():
        if row[f"false_tumor_{height}_ml"] > 0:
            chosen.setdefault(int((per_slice * here).argmax()), f": {row[f'false_tumor_{height}_ml']:.2f} mL {height}")
    aspect = volume.spacing_mm[1] / volume.spacing_mm[2]
    examples = [
        Example(
            volume.voxels[k],
            None if truth is None else truth[k],
            predicted[k],
            f"{row['scan']}, slice {k}{', false tumor' * bool(what)}{what}",
            aspect,
        )
        for k, what in chosen.items()
    ]
    return save_figure(overlay_grid(examples), path)
