"""The page of a folder of predictions: a picture and the figures of each scan; it needs no other file, no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from data_prep.errors import require
from kidney_seg.results.picture import read_picture
from kidney_seg.results.record import PICTURES
from kidney_seg.results.rows import Row

TITLE = "Kidneys and tumors: overview</title>"  # of the page, which knows one


def templates(package: str = "kidney_seg.results") -> Any:
    """Return Jinja2's environment of a package's folder `assets`, which escapes all texts."""
    jinja2 = require("jinja2", "report")
    made = jinja2.Environment(
        loader=jinja2.PackageLoader(package, "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return made


def page(folder: Path, rows: Sequence[Row]) -> str:
    """Return the overview as HTML text: what failed and what has flags first. InputError without Jinja2."""
    made = templates()
    made.filters["link"] = lambda name: quote(name, errors="surrogateescape")
    cards = []
    for row in sorted(rows, key=lambda row: row.rank):
        content = read_picture(folder / PICTURES / f"{row.name}.jpg", row.labels_sha256)
        cards.append({"row": row, "picture": base64.b64encode(content).decode() if content else ""})
    return made.get_template("overview.html").render(
        cards=cards,
        failed=sum(bool(row.error) for row in rows),
        flagged=sum(bool(row.flags) for row in rows),
        models=sorted({(row.model, row.data, row.license) for row in rows if row.model}),
        css=(files("kidney_seg.results") / "assets" / "overview.css").read_text(encoding="utf-8"),
    )
