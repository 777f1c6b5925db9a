"""The header and its fields of image files that begin with lines of text: NRRD and MetaImage."""

from __future__ import annotations

import math
import re
from pathlib import Path

from data_prep.errors import InputError
from data_prep.formats.gzip_stream import AGAIN
from data_prep.formats.image_source import opened

_MOST_BYTES = 1 << 20
DETACHED = "keeps its voxels in another file; expected one file; convert it to .nii.gz"


def read_text_header(path: Path, first: re.Pattern[bytes], last: re.Pattern[bytes]) -> bytes:
    """Return the lines of the header, from one that matches `first` to one that matches `last`, or raise InputError."""
    lines: list[bytes] = []
    left = _MOST_BYTES
    with opened(path) as file:
        while line := file.readline(left):
            if not lines and not first.match(line):
                problem = f"not a {path.suffix} file, by its first line; expected one; {AGAIN}"
                raise InputError(problem, path, "not_an_image")
            lines.append(line)
            left -= len(line)
            if last.match(line):
                return b"".join(lines)
    if not lines:
        raise InputError(f"the file is empty; {AGAIN}", path, "empty_file")
    raise InputError(f"the file is truncated or damaged (its header has no end); {AGAIN}", path, "truncated")


def fields_of(header: bytes, separator: str) -> dict[str, str]:
    """Return the fields of a header by name, in lower case and without spaces, because spellings of a name vary."""
    lines = header.decode("latin-1").splitlines()
    pairs = (line.split(separator, 1) for line in lines if separator in line and not line.startswith("#"))
    return {name.strip().lower().replace(" ", ""): value.strip() for name, value in pairs}


def size_of(fields: dict[str, str], name: str, path: Path) -> tuple[int, ...]:
    """Return the whole numbers of the field `name`; InputError if there are none."""
    try:
        size = tuple(int(n) for n in fields[name].split())
    except (KeyError, ValueError):
        size = ()
    if not size:
        raise InputError(f"the header has no size ({name}); expected three numbers of voxels; {AGAIN}", path)
    return size


def check_numbers(fields: dict[str, str], names: tuple[str, ...], path: Path) -> None:
    """Raise InputError for an existing field that holds anything but finite numbers, which ITK reads as 0."""
    for name in names:
        try:
            sound = all(math.isfinite(float(part)) for part in re.split(r"[\s(),]+", fields.get(name, "")) if part)
        except ValueError:
            sound = False
        if not sound:
            raise InputError(f"{quoted(fields, name)} is not a geometry; expected numbers; correct the header", path)


def quoted(fields: dict[str, str], name: str) -> str:
    """Return a field as errors show it: short, and without control characters."""
    return f"{name} {fields.get(name, '')[:40]!a}"
