"""The place of the tables in a page of the docs: between two marks that a reader does not see."""

from __future__ import annotations

from pathlib import Path

from data_prep.errors import InputError
from data_prep.files.atomic import write_file

BEGIN, END = "<!-- tables of benchmarks.paper_on_kits: begin -->", "<!-- tables of benchmarks.paper_on_kits: end -->"


def read_place(page: str | Path) -> str:
    """Return what stands between the marks, without blank lines around it; InputError unless each is there once."""
    return _parts(Path(page))[1].strip()


def write_place(page: str | Path, text: str) -> None:
    """Replace what stands between the marks of a page; the rest stays as it is. InputError as `read_place`."""
    before, _, after = _parts(Path(page))
    write_file(Path(page), f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}".encode())


def _parts(page: Path) -> tuple[str, str, str]:
    if not page.is_file():
        raise InputError("no such page", path=page, code="no_such_file")
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"expected the lines {BEGIN!r} and {END!r}, each once", path=page)
    before, rest = text.split(BEGIN)
    inside, after = rest.split(END)
    return before, inside, after
