"""The place of generated tables in a page of the docs: between two marks that a reader does not see."""

from __future__ import annotations

from pathlib import Path

from data_prep.errors import InputError
from data_prep.files.atomic import write_file


def marks(name: str) -> tuple[str, str]:
    """Return the lines that begin and end the tables of a command.

    >>> marks("benchmarks")[1]
    '<!-- tables of benchmarks: end -->'
    """
    return f"<!-- tables of {name}: begin -->", f"<!-- tables of {name}: end -->"


def read_place(page: str | Path, name: str) -> str:
    """Return what stands between the marks, without blank lines around it; InputError unless each is there once."""
    return _parts(Path(page), name)[1].strip()


def write_place(page: str | Path, name: str, text: str) -> None:
    """Replace what stands between the marks of a page; the rest stays as it is. InputError as `read_place`."""
    before, _, after = _parts(Path(page), name)
    begin, end = marks(name)
    write_file(Path(page), f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}".encode())


def _parts(page: Path, name: str) -> tuple[str, str, str]:
    if not page.is_file():
        raise InputError("no such page", path=page, code="no_such_file")
    text, (begin, end) = page.read_text(encoding="utf-8"), marks(name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise InputError(f"expected the lines {begin!r} and {end!r}, each once", path=page)
    before, rest = text.split(begin)
    inside, after = rest.split(end)
    return before, inside, after
