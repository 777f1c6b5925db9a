"""A run, or an evaluation, as one HTML file that opens without a network: `python -m kidney_seg.report RUN`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data_prep.errors import InputError
from data_prep.files.atomic import replacing
from kidney_seg.run import layout

NAME = layout.REPORT.name


def write_report(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    truth: str | Path | None = None,
    predictions: str | Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the report of a finished run, or of a folder that evaluate wrote; return its path.

    `out`: the file, `report.html` in the folder without it; replaced where it is there. `truth`, `predictions`: for the
    pictures of an evaluation, see `report_data.gather`. InputError where the folder is neither, or a run that is not
    finished; scans and labels that are gone are said in the report.
    """
    from kidney_seg.report.data import gather
    from kidney_seg.report.page import page

    out = Path(out) if out is not None else Path(folder) / NAME
    if out.suffix not in (".html", ".htm"):
        raise InputError(f"{out}: expected the name of an HTML file, such as {NAME}")
    text = page(gather(folder, truth, predictions), say)
    with replacing(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return out
