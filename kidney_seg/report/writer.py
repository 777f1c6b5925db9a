"""Write the report of a run, or of an evaluation, as one HTML file that opens without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data_prep.errors import InputError
from data_prep.files.atomic import write_file
from data_prep.files.outputs import check_outputs, has_text
from kidney_seg.results import read_rows
from kidney_seg.run import layout

NAME = layout.REPORT.name
TITLE = b"kidney-tumor segmentation</title>"  # of the page, which knows a report


def is_batch(folder: str | Path) -> bool:
    """Return whether a folder holds predictions with their records, and is neither a run nor an evaluation."""
    folder = Path(folder)
    other = any((folder / name).is_file() for name in (layout.CONFIG, "scores.json"))
    return folder.is_dir() and not other and bool(read_rows(folder))


def write_report(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    truth: str | Path | None = None,
    predictions: str | Path | None = None,
    images: str | Path | None = None,
    slices: int | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the report of a finished run, of an evaluation, or of predictions without truth; return its path.

    Args:
        folder: run folder, folder of an evaluation, or of predictions.
        out: the HTML file (default: `report.html` in the folder); replaced if it exists.
        truth, predictions, images: for the pictures, see `gather`.
        slices: of every case, to page through; 0 for none.
        log: gets one line per case that is drawn.

    Raises:
        InputError: the folder is neither, or the run is not finished. Missing scans and labels are noted in the report.
    """
    from kidney_seg.report.page import page
    from kidney_seg.report.patients import SLICES
    from kidney_seg.report.sources import gather

    out = Path(out) if out is not None else Path(folder) / NAME
    if out.suffix not in (".html", ".htm"):
        raise InputError(f"expected the name of an HTML file, such as {NAME}", path=out)
    check_outputs([out], ours=has_text(TITLE))
    data = gather(folder, truth, predictions, images)
    text = page(data, log, SLICES if slices is None else slices)
    write_file(out, text.encode(errors="backslashreplace"))  # of names that are not UTF-8
    return out
