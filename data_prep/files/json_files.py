"""Read and write JSON files, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.atomic import replacing


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all; ValueError for NaN, which JSON does not have."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path, what: str) -> Any:
    """Read a JSON file; InputError for a missing or broken one, with `what` as its name in the message."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no {what} here", path, "no_such_file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        detail = f"the {what} cannot be read ({error}); restore it or make it again"
        raise InputError(detail, path) from None
