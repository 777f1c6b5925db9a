"""Find images and labels in any layout by patterns such as `imagesTr/{case}_0000.nii.gz`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from data_prep.errors import InputError

CASE = "{case}"


def match_pattern(root: Path, pattern: str, option: str) -> list[tuple[str, Path]]:
    """Return (case name, path) of all files and folders below `root` that fit `pattern`, sorted.

    Args:
        root: the folder.
        pattern: a path relative to `root`, in which `{case}` stands for the name (twice: the same name), and `*` and
            `?` are as in a shell; none of them fits a path separator, nor the dot of a hidden name.
        option: name of the pattern in errors.

    Raises:
        InputError: the pattern is absolute or has no `{case}`, or a folder cannot be listed.
    """
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.startswith("/") or CASE not in pattern:
        raise InputError(
            f"{option} {pattern!r}: expected a path below {root} with {CASE} for the case's name, "
            f"such as 'imagesTr/{CASE}_0000.nii.gz'"
        )
    found: list[tuple[str | None, Path]] = [(None, root)]
    for part in parts:
        found = [longer for name, path in found for longer in _step(name, path, part, option)]
    return sorted((name, path) for name, path in found if name is not None)


def _step(name: str | None, folder: Path, part: str, option: str) -> list[tuple[str | None, Path]]:
    if not any(sign in part for sign in (CASE, "*", "?")):
        return [(name, folder / part)] if os.path.lexists(folder / part) else []
    if not folder.is_dir():
        return []
    try:
        entries = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(f"cannot be listed ({error.strerror}); {option} searches it", path=folder) from None
    fits = _expression(part)
    matches = ((fits.fullmatch(entry), entry) for entry in entries)
    return [
        (match.groupdict().get("case", name), folder / entry)
        for match, entry in matches
        if match and name in (None, match.groupdict().get("case", name))
    ]


def _expression(part: str) -> re.Pattern[str]:
    words = {"*": ".*", "?": "."}
    first = True
    text = "" if part.startswith(".") else r"(?!\.)"
    for word in re.split(r"(\{case\}|\*|\?)", part):
        if word == CASE:
            text += "(?P<case>.+)" if first else "(?P=case)"
            first = False
        else:
            text += words.get(word, re.escape(word))
    return re.compile(text, re.DOTALL)
