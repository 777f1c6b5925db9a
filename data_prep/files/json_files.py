"""Read and write JSON files, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.atomic import replacing


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all. NaN is refused: JSON has no word for it."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path, what: str) -> Any:
    """Read a JSON file; `what` names it in the message of the InputError that a missing or broken file raises."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no {what} here") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: the {what} cannot be read ({error}); restore it or make it anew") from None
