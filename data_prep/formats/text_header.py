"""The header and its fields of image files that begin with lines of text: NRRD and MetaImage."""

from __future__ import annotations

import math
import re
from pathlib import Path

from data_prep.errors import InputError
from data_prep.formats.gzip_stream import AGAIN
from data_prep.formats.image_source import opened

_MOST_BYTES = 1 << 20
_MOST_AXES = 16  # NRRD's own limit
DETACHED = "keeps its voxels in another file; expected one file; convert it to .nii.gz"
UNITS_MM = {"mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "\xb5m": 0.001}
TWO_WAYS = "the header can be read in two ways"


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


def fields_of(header: bytes, separator: str, path: Path) -> dict[str, str]:
    """Return the fields of a header by name, in lower case and without spaces, because spellings of a name vary.

    InputError for a field that stands there twice with two values. Lines `key:=value` of NRRD are no fields.
    """
    fields: dict[str, str] = {}
    for line in header.decode("latin-1").splitlines():
        if separator not in line or line.startswith("#") or ":=" in line.split(separator, 1)[0]:
            continue
        name, value = (part.strip() for part in line.split(separator, 1))
        name = name.lower().replace(" ", "")
        if fields.setdefault(name, value) != value and name != "comment":
            raise InputError(f"{TWO_WAYS}: {quoted(fields, name)} and {value[:40]!a}; correct the header", path)
    return fields


def size_of(fields: dict[str, str], name: str, dimensions: str, path: Path) -> tuple[int, ...]:
    """Return the whole numbers of the field `name`, as many as the field `dimensions` says; InputError otherwise."""
    try:
        size = tuple(int(n) for n in fields[name].split())
    except (KeyError, ValueError):
        size = ()
    if not size or len(size) > _MOST_AXES:
        raise InputError(f"the header has no size ({name}); expected three numbers of voxels; {AGAIN}", path)
    if fields.get(dimensions, str(len(size))) != str(len(size)):
        found = f"{quoted(fields, dimensions)} with {len(size)} numbers in {name}"
        raise InputError(f"{TWO_WAYS}: {found}; correct the header", path)
    return size


def numbers_of(fields: dict[str, str], name: str, path: Path) -> list[float]:
    """Return the numbers of a field, none if it does not exist; InputError unless all are finite numbers."""
    try:
        numbers = [float(part) for part in re.split(r"[\s(),]+", fields.get(name, "")) if part]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise not_a_geometry(fields, name, path)
    return numbers


def unit_mm(given: set[str], path: Path) -> float:
    """Return the millimeters of the only unit of length among `given`, 1 if there is none; InputError otherwise."""
    known = {unit.strip().lower() for unit in given} - {"", "?", "???"}
    factors = {UNITS_MM.get(unit) for unit in known}
    if len(factors) > 1 or None in factors:
        found = ", ".join(f"{unit[:20]!a}" for unit in sorted(known)[:3])
        raise InputError(f"the unit of length is {found}; expected mm, cm, m or um; correct the header", path)
    return next(iter(factors), 1.0) or 1.0


def not_a_geometry(fields: dict[str, str], name: str, path: Path) -> InputError:
    """Return the error for a field that gives no place in the patient."""
    return InputError(f"{quoted(fields, name)} is not a geometry; expected numbers; correct the header", path)


def quoted(fields: dict[str, str], name: str) -> str:
    """Return a field as errors show it: short, and without control characters."""
    return f"{name} {fields.get(name, '')[:40]!a}"
