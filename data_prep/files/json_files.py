"""Read and write JSON files, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from data_prep.errors import InputError, raise_if_out_of_memory
from data_prep.files.atomic import write_file
from data_prep.files.regular_files import check_regular


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all; ValueError for NaN, which JSON does not have."""
    write_file(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: str | Path, what: str) -> Any:
    """Read a JSON file; InputError for a missing or broken one, with `what` as its name in the message."""
    path = Path(path)
    check_regular(path)
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no {what} here", path, "no_such_file") from None
    except (OSError, ValueError) as error:
        raise_if_out_of_memory(error, path)
        detail = f"the {what} cannot be read ({error}); restore it or make it again"
        raise InputError(detail, path) from None


def parse_json(text: str | bytes) -> Any:
    """Return the content of JSON text; ValueError for anything else, also for NaN and for values nested too deep.

    >>> parse_json('{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("values are nested too deep") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
