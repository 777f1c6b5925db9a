"""The report's sections on single patients: slices with outlines, 3-D views, and the table of all cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from kidney_seg.report.data import ReportData
from kidney_seg.report.slices import MISSED, Picture, choose, draw_case, missed
from kidney_seg.report.svg import json_for_script

COLUMNS = (  # of the table of all cases: heading, key in a row, decimals, factor; left out where no row has the key
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
STEPS = (
    ("left", "←", "Turn to the left"),
    ("right", "→", "Turn to the right"),
    ("up", "↑", "Tilt up"),
    ("down", "↓", "Tilt down"),
    ("in", "+", "Closer"),
    ("out", "-", "Farther away"),
    ("reset", "Reset", "Back to the view from the front"),
)


def pictures(data: ReportData, say: Callable[[str], None]) -> str:
    """Return the best, the median and the worst patient, with slices and 3-D views, and the missed tumors."""
    chosen = choose(data.cases)
    if not chosen:
        return "<p>No case has a kidney or a tumor, so there is nothing to show.</p>"
    if not data.files:
        return (
            "<p>No pictures: this evaluation does not know where the scans are. Make the report with "
            "<code>--truth FOLDER</code>, the folder of the cases with their images.</p>"
        )
    blocks = []
    for role, row in chosen:
        say(f"drawing {row['case']} ({role})")
        picture, scenes, reason = draw_case(data.files.get(row["case"]), solid=True)
        view = "" if scenes is None else _view(row["case"], scenes)
        note = f'<p class="soft">{escape(reason)}</p>' if reason else ""
        blocks.append(f'<article class="case">{_head(role, row, picture)}{_slices(row, picture)}{note}{view}</article>')
    return _key() + "".join(blocks) + _missed(data, {row["case"] for _, row in chosen}, say)


def _missed(data: ReportData, shown: set[str], say: Callable[[str], None]) -> str:
    rows = missed(data.cases)
    if not rows:
        return "<h3>Missed tumors</h3><p>None: of every tumor something was found.</p>"
    blocks = []
    for row in [row for row in rows if row["case"] not in shown][:MISSED]:
        say(f"drawing {row['case']} (missed)")
        picture, _, reason = draw_case(data.files.get(row["case"]), solid=False)
        note = f'<p class="soft">{escape(reason)}</p>' if reason else ""
        outlined = "" if picture is None else _slice(row["case"], picture, outlined=True)
        blocks.append(f'<article class="case">{_head("", row, picture)}{outlined}{note}</article>')
    names = ", ".join(escape(row["case"]) for row in rows)
    count = f"{len(rows)} case{'s' * (len(rows) != 1)}"
    return (
        f"<h3>Missed tumors</h3><p>Tumor Dice 0, largest tumor first: {count} ({names}). A tumor nearly as bright as "
        "its kidney, small, or at the edge of the scan is easily missed; the mean HU of both is given where the scan "
        f'could be read.</p><div class="small">{"".join(blocks)}</div>'
    )


def _key() -> str:
    def stroke(color: str, dashed: bool) -> str:
        dash = ' stroke-dasharray="5 3.5"' if dashed else ""
        line = f'<path d="M2 6H36" stroke="var(--{color}-on-ct)" stroke-width="2.4"{dash}/>'
        return f'<svg viewBox="0 0 38 12" aria-hidden="true">{line}</svg>'

    parts = "".join(
        f"<span>{stroke(color, dashed)} {color}, {source}</span>"
        for source, dashed in (("truth", False), ("prediction", True))
        for color in ("kidney", "tumor")
    )
    boxes = "".join(
        f'<label class="screen"><input type="checkbox" data-hides="{source}" checked> outline of the {source}</label>'
        for source in ("truth", "prediction")
    )
    return (
        "<p>The best, the median and the worst case by the Dice of the tumor, each at the slice with most of the true "
        "tumor. Slices are seen from the feet: the patient's right (R) is on the left. The kidney's outline goes round "
        f'its tumors as well.</p><div class="key">{parts}{boxes}</div>'
    )


def _head(role: str, row: Mapping[str, Any], picture: Picture | None) -> str:
    facts = [f"Dice of the tumor {_number(row['tumor'], 3)}, of the kidney {_number(row['kidney'], 3)}"]
    if row["diameter_mm"]:
        facts.append(f"tumor of {row['diameter_mm'] / 10:.1f} cm, {row['tumor_ml']:.1f} mL")
    facts.append(f"{row['predicted_tumor_ml']:.1f} mL predicted")
    if picture is not None:
        facts.append(f"slice {picture.slice_number} of {picture.slices}")
        if {"kidney", "tumor"} <= set(picture.hu):
            facts.append(f"tumor {picture.hu['tumor']:.0f} HU, kidney {picture.hu['kidney']:.0f} HU")
    name = f'<span class="role">{role}: </span>' if role else ""
    return f'<header><h3>{name}{escape(row["case"])}</h3><span class="soft">{"; ".join(facts)}</span></header>'


def _slices(row: Mapping[str, Any], picture: Picture | None) -> str:
    if picture is None:
        return ""
    panels = "".join(
        f"<figure>{_slice(row['case'], picture, outlined)}<figcaption>{caption}</figcaption></figure>"
        for outlined, caption in ((False, "CT"), (True, "CT with outlines of truth and prediction"))
    )
    return f'<div class="pair">{panels}</div>'


def _slice(case: str, picture: Picture, outlined: bool) -> str:
    width, height = picture.size_mm
    paths = ""
    for (source, structure), path in picture.outlines.items() if outlined else ():
        casing = f'<path class="casing {source}" d="{path}"/>' if source == "truth" else ""
        paths += f'{casing}<path class="{source} {structure}" d="{path}"/>'
    which = sorted({source for source, _ in picture.outlines})
    said = f" with the outlines of {' and '.join(which)}" if outlined and which else ""
    label = escape(f"CT slice {picture.slice_number} of {case}{said}", quote=True)
    size = 0.06 * min(width, height)
    return (
        f'<svg class="slice" role="img" aria-label="{label}" viewBox="0 0 {width:.2f} {height:.2f}">'
        f'<image href="data:image/png;base64,{picture.png}" width="{width:.2f}" height="{height:.2f}" '
        f'preserveAspectRatio="none"/>{paths}'
        f'<text x="{size / 3:.2f}" y="{height / 2:.2f}" font-size="{size:.2f}">R</text></svg>'
    )


def _view(case: str, scenes: list[dict[str, Any]]) -> str:
    canvases = "".join(
        f'<figure><canvas tabindex="0" role="img" aria-label="{label}"></canvas>'
        f"<figcaption>{name}</figcaption></figure>"
        for name in ("Truth", "Prediction")
        for label in [escape(f"{name} of {case} in 3-D: kidneys blue, tumor orange. Arrow keys turn it.", quote=True)]
    )
    buttons = "".join(
        f'<button type="button" data-step="{step}" aria-label="{label}">{sign}</button>' for step, sign, label in STEPS
    )
    return (
        f'<div class="view"><div class="pair">{canvases}</div><div class="turn">{buttons}'
        '<span class="soft">Drag to turn both, or use the arrow keys, + and -.</span></div>'
        "<noscript><p>The 3-D view needs JavaScript, which this viewer does not run.</p></noscript>"
        f'<script type="application/json">{json_for_script(scenes)}</script></div>'
    )


def all_cases(data: ReportData) -> str:
    """Return the table of all cases, worst tumor Dice first."""
    rows = sorted(data.cases, key=lambda row: (row["tumor"] is None, row["tumor"] or 0.0, row["kidney"] or 0.0))
    columns = [column for column in COLUMNS if any(row.get(column[1]) is not None for row in rows)]
    body = "".join(
        f"<tr>{_name_cell(row)}{''.join(_cell(row, *column[1:]) for column in columns)}</tr>" for row in rows
    )
    heads = "".join(f'<th scope="col" class="number">{name}</th>' for name, *_ in columns)
    measured = "" if data.diameter_is_measured else " Diameters are of a ball as large as the tumor."
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="All cases"><table class="sorted">'
        f"<caption>Worst tumor first. A dash: truth and prediction both lack the structure.{measured} "
        '<span class="screen">A click on a heading sorts.</span></caption>'
        f'<thead><tr><th scope="col">Case</th>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _name_cell(row: Mapping[str, Any]) -> str:
    return f'<th scope="row" data-value="{escape(row["case"], quote=True)}">{escape(row["case"])}</th>'


def _cell(row: Mapping[str, Any], key: str, decimals: int, factor: float) -> str:
    value = row.get(key)
    if value is None or not math.isfinite(value):
        return f'<td class="number" data-value="">{_number(None, decimals)}</td>'
    classes = "number zero" if key == "tumor" and value == 0 and row["tumor_ml"] else "number"
    return f'<td class="{classes}" data-value="{value}">{_number(value * factor, decimals)}</td>'


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"
