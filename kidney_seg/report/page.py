"""The report's HTML: data in, one page out, which needs no other file and asks no host for anything."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Mapping
from html import escape
from importlib.resources import files
from typing import Any

from kidney_seg.figures.score_plots import detection_by_size, dice_by_patient, dice_by_size, volume_agreement
from kidney_seg.figures.training_curves import learning_curves
from kidney_seg.report.cases import all_cases, pictures
from kidney_seg.report.data import STRUCTURES, Line, ReportData
from kidney_seg.report.published import OTHERS, PAPER, Published
from kidney_seg.report.svg import inline_svg

Say = Callable[[str], None]


def page(data: ReportData, say: Say = lambda line: None) -> str:
    """Return the report as HTML text. `say` gets a line for each case that is drawn, which may take a while."""
    sections = {
        "table1": ("Table 1", _table1(data)),
        "charts": ("Charts", _charts(data)),
        "patients": ("Patients", pictures(data, say)),
        "cases": ("All cases", all_cases(data)),
    }
    links = "".join(f'<li><a href="#{key}">{title}</a></li>' for key, (title, _) in sections.items())
    body = "".join(
        f'<section id="{key}"><h2>{title}</h2>{content}</section>' for key, (title, content) in sections.items()
    )
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in data.facts)
    warnings = "".join(f'<p class="warning">{escape(text)}</p>' for text in data.warnings)
    css = _asset("report.css")
    scripts = [_asset("page.js"), _asset("view.js")]
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}; "
        "base-uri 'none'; form-action 'none'"
    )
    title = escape(f"{data.title}: kidney and kidney-tumor segmentation")
    code = "".join(f'<script type="module">{script}</script>' for script in scripts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{css}</style>
</head>
<body>
<a class="skip" href="#table1">To the figures</a>
<header>
<h1>{escape(data.title)}</h1>
<p class="soft">Kidney and kidney-tumor segmentation in CT</p>
<dl class="facts">{facts}</dl>
{warnings}
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>{body}</main>
<footer class="soft"><p>Not a medical device. The pictures show patients' CT: treat this file like their scans.</p>
</footer>
<div id="tip" role="status" hidden></div>
{code}
</body>
</html>
"""


def _asset(name: str) -> str:
    return (files("kidney_seg.report") / "assets" / name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _table1(data: ReportData) -> str:
    rows = ['<tr class="group"><th colspan="5" scope="colgroup">This report</th></tr>']
    rows += [_own_row(line) for line in data.table1]
    rows.append('<tr class="group"><th colspan="5" scope="colgroup">Published, on KiTS19</th></tr>')
    rows += [_published_row(system) for system in (PAPER, *OTHERS)]
    heads = "".join(f'<th scope="col" class="number">{name.capitalize()}</th>' for name in STRUCTURES)
    return (
        '<p>Volumetric Dice, the mean over cases, with its 95 % bootstrap interval by patient. "Kidney" is the kidney '
        'with its tumors; "average" is the mean of the two means. The rule is the paper\'s: objects far from both '
        "kidneys are removed.</p><p>The published figures are of other patients and partly of other protocols: only a "
        "system scored on the same patients is strictly comparable.</p>"
        + _table(
            "Table 1, beside published figures",
            f'<th scope="col">System</th>{heads}<th scope="col">Patients</th>',
            "".join(rows),
            "stacked",
        )
        + _further(data)
    )


def _further(data: ReportData) -> str:
    rows = "".join(_further_row(name, cell) for name, cell in data.further)
    if not rows:
        return ""
    names = ("Mean", "95 % interval", "Median", "Cases")
    heads = '<th scope="col">Score</th>' + "".join(f'<th scope="col" class="number">{name}</th>' for name in names)
    caption = "Dice and surface Dice by the rules of KiTS21 and KiTS23; distances where there are two surfaces"
    return f"<h3>Further scores</h3>{_table(caption, heads, rows)}"


def _further_row(name: str, cell: Mapping[str, Any]) -> str:
    decimals = 2 if name.endswith("mm") else 3
    mean, low, high, median = (
        "-" if cell[part] is None else f"{cell[part]:.{decimals}f}" for part in ("mean", "low", "high", "median")
    )
    interval = "-" if cell["low"] is None else f"{low} to {high}"
    cells = "".join(f'<td class="number">{text}</td>' for text in (mean, interval, median, cell["n"]))
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def _table(caption: str, heads: str, rows: str, kind: str = "") -> str:
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{caption}"><table class="{kind}">'
        f"<caption>{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _own_row(line: Line) -> str:
    cells = "".join(f'<td class="number">{_own_cell(line.cells[name])}</td>' for name in STRUCTURES)
    counts = [line.cells[name]["n"] for name in ("kidney", "tumor")]
    said = f"{counts[0]} cases" if counts[0] == counts[1] else f"{counts[0]} cases for kidney, {counts[1]} for tumor"
    left_out = max(line.cells[name].get("left_out") or 0 for name in ("kidney", "tumor"))
    note = '<span class="note">without the structure in truth and prediction: left out</span>' if left_out else ""
    name = line.name[0].upper() + line.name[1:]
    return f'<tr class="own"><th scope="row">{escape(name)}</th>{cells}<td>{said}{note}</td></tr>'


def _own_cell(cell: Mapping[str, float | None]) -> str:
    if cell["mean"] is None or math.isnan(cell["mean"]):
        return "-"
    text = f"<b>{cell['mean']:.3f}</b>"
    if cell.get("low") is not None:
        text += f'<span class="interval">{cell["low"]:.3f} to {cell["high"]:.3f}</span>'
    if cell.get("median") is not None:
        text += f'<span class="interval">median {cell["median"]:.3f}</span>'
    return text


def _published_row(system: Published) -> str:
    values = (system.kidney, system.tumor, system.average)
    cells = "".join(f'<td class="number">{"-" if value is None else f"{value:.3f}"}</td>' for value in values)
    name = f'{escape(system.system)}<span class="note">{escape(system.source)}</span>'
    return f'<tr><th scope="row">{name}</th>{cells}<td>{escape(system.patients)}</td></tr>'


def _charts(data: ReportData) -> str:
    size = "diameter of the largest tumor" if data.diameter_is_measured else "diameter of a ball as large as the tumor"
    with_tumor = [row for row in data.cases if row["tumor_ml"]]
    zero = sum(row["tumor"] == 0 for row in with_tumor)
    charts = [
        (
            "by-patient",
            "Dice by patient",
            dice_by_patient(data.cases),
            f"The tumor's Dice is 0 in {zero} of {len(with_tumor)} cases with a tumor.",
        ),
        (
            "by-size",
            "Dice against tumor size",
            dice_by_size(data.cases, size),
            "Dotted lines part the size classes.",
        ),
        (
            "found",
            "Detection by tumor size",
            detection_by_size(data.detection[:-1]),
            "Tumors found, by their diameter; lines are 95 % intervals."
            if data.detection_by_tumor
            else "Cases whose tumor was found at all (Dice above 0), by size; lines are 95 % intervals.",
        ),
        (
            "volumes",
            "Agreement of tumor volumes",
            volume_agreement(data.cases),
            "Bland and Altman's plot: the difference of each case against the mean of its two volumes.",
        ),
    ]
    if data.history or data.rounds:
        curves = learning_curves(data.history, data.rounds, size_inches=(4.8, 3.9))
        told = "Training loss, and Dice of the patients that judge the rounds."
        charts.insert(0, ("curves", "Learning curves by round", curves, told))
    figures = "".join(
        f'<figure class="chart"><h3>{title}</h3>{inline_svg(figure, key, f"{title}. {text}")}'
        f"<figcaption>{escape(text)}</figcaption></figure>"
        for key, title, figure, text in charts
    )
    hint = (
        '<p class="soft screen">Point at a mark, or touch it, to see whose it is. With the keyboard: go to a chart '
        "with Tab, then use the arrow keys.</p>"
    )
    return f'{hint}<div class="charts">{figures}<div>{_detection_table(data)}</div></div>'


def _detection_table(data: ReportData) -> str:
    what = "Tumors" if data.detection_by_tumor else "Cases"
    rows = "".join(
        f'<tr><th scope="row">{escape(row["size_class"])}</th><td class="number">{row["n"]}</td>'
        f'<td class="number">{row["found"]}</td><td class="number">{row["n"] - row["found"]}</td>'
        f'<td class="number">{_share(row)}</td></tr>'
        for row in data.detection
    )
    heads = "".join(f'<th scope="col" class="number">{name}</th>' for name in (what, "Found", "Missed", "Share"))
    text = "Found: the Dice of the case's tumor is above 0."
    if data.detection_by_tumor:
        false = data.false_tumors
        text = f"Found: {false['found_means']}. False tumors: {false['false_tumors']}"
        if false["false_per_patient"] is not None:
            text += f", {false['false_per_patient']:.2f} a patient"
        if false["low"] is not None:
            text += f" ({false['low']:.2f} to {false['high']:.2f})"
        text += "."
    table = _table("By tumor diameter", f'<th scope="col">Diameter</th>{heads}', rows)
    return f'<h3>Tumors found and missed</h3>{table}<p class="soft">{escape(text)}</p>'


def _share(row: Mapping[str, Any]) -> str:
    if not row["n"]:
        return "-"
    text = f"{row['found'] / row['n']:.2f}"
    if row.get("low") is not None:
        text += f'<span class="interval">{row["low"]:.2f} to {row["high"]:.2f}</span>'
    return text
