"""The report's HTML page: data in, one page out, which needs no other file and no network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from kidney_seg.figures.score_plots import detection_by_size, dice_by_patient, dice_by_size, volume_agreement
from kidney_seg.figures.training_curves import learning_curves
from kidney_seg.metrics.missing import format_score
from kidney_seg.report.data import ReportData
from kidney_seg.report.patients import SLICES, patients, worst_first
from kidney_seg.report.rows import TABLE1_ROWS
from kidney_seg.report.svg import inline_svg
from kidney_seg.results.page import templates

COLUMNS = (  # of the table of all cases: heading, key in a row, decimals, factor; left out if no row has the key
    ("Dice tumor", "tumor", 3, 1),
    ("Dice kidney", "kidney", 3, 1),
    ("Tumor, cm", "diameter_mm", 1, 0.1),
    ("Tumor, mL", "tumor_ml", 1, 1),
    ("Predicted, mL", "predicted_tumor_ml", 1, 1),
    ("Surface Dice tumor", "kits23_tumor_surface_dice", 3, 1),
    ("HD95 tumor, mm", "tumor_hd95_mm", 1, 1),
    ("Tumors", "tumors", 0, 1),
    ("Found", "tumors_found", 0, 1),
    ("False", "false_tumors", 0, 1),
)
COLUMNS_OF_PREDICTIONS = (
    ("Tumor, mL", "predicted_tumor_ml", 1, 1),
    ("Tumors", "tumors", 0, 1),
    ("Largest, cm", "diameter_mm", 1, 0.1),
    ("Left kidney, mL", "left_ml", 0, 1),
    ("Right kidney, mL", "right_ml", 0, 1),
)
SECTIONS = {"table1": "Table 1", "charts": "Charts", "patients": "Patients", "cases": "All cases"}
SECTIONS_OF_PREDICTIONS = {"cases": "All scans", "patients": "Slices"}


def page(data: ReportData, log: Callable[[str], None] = lambda line: None, slices: int = SLICES) -> str:
    """Return the report as HTML text; `log` gets one line per case that is drawn. InputError without Jinja2.

    slices: of every case, to page through; 0 for none.
    """
    scripts = [_asset("page.js"), _asset("view.js"), _asset("pager.js")]
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    columns = COLUMNS if data.scored else COLUMNS_OF_PREDICTIONS
    return (
        _templates()
        .get_template("page.html")
        .render(
            data=data,
            structures=TABLE1_ROWS,
            published=json.loads(_asset("published.json")),
            charts=_charts(data) if data.scored else [],
            **patients(data, log, slices),
            rows=worst_first(data.cases),
            sections=SECTIONS if data.scored else SECTIONS_OF_PREDICTIONS,
            columns=[column for column in columns if any(row.get(column[1]) is not None for row in data.cases)],
            css=_asset("report.css"),
            scripts=scripts,
            hashes=" ".join(f"'sha256-{one}'" for one in hashes),
        )
    )


def _templates() -> Any:
    made = templates("kidney_seg.report")
    made.filters["score"] = format_score
    return made


def _asset(name: str) -> str:
    return (files("kidney_seg.report") / "assets" / name).read_text(encoding="utf-8")


def _charts(data: ReportData) -> list[dict[str, str]]:
    size = "diameter of the largest tumor" if data.diameter_is_measured else "diameter of a ball as large as the tumor"
    with_tumor = [row for row in data.cases if row["tumor_ml"]]
    zero = sum(row["tumor"] == 0 for row in with_tumor)
    counted = "Tumors found, by their diameter"
    if not data.detection_by_tumor:
        counted = "Cases whose tumor was found at all (Dice above 0), by size"
    charts = [
        (
            "Dice by patient",
            dice_by_patient(data.cases),
            f"The tumor's Dice is 0 in {zero} of {len(with_tumor)} cases with a tumor.",
        ),
        ("Dice against tumor size", dice_by_size(data.cases, size), "Dotted lines separate the size classes."),
        ("Detection by tumor size", detection_by_size(data.detection[:-1]), f"{counted}; lines are 95 % intervals."),
        (
            "Agreement of tumor volumes",
            volume_agreement(data.cases),
            "Bland and Altman's plot: the difference of each case against the mean of its two volumes.",
        ),
    ]
    if data.history or data.rounds:
        curves = learning_curves(data.history, data.rounds, size_inches=(4.8, 3.9))
        text = "Training loss, and Dice of the validation patients after each round."
        charts.insert(0, ("Learning curves by round", curves, text))
    return [
        {"title": title, "text": text, "svg": inline_svg(figure, f"chart{number}", f"{title}. {text}")}
        for number, (title, figure, text) in enumerate(charts)
    ]
