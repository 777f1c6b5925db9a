"""Pairs of folders that are not KiTS': images and labels by patterns such as `imagesTr/{case}_0000.nii.gz`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from data_prep.errors import InputError

CASE = "{case}"


def match_pattern(root: Path, pattern: str, option: str) -> list[tuple[str, Path]]:
    """Return (case name, path) for all that fits `pattern` below `root`, sorted.

    A pattern is a path relative to `root`; `{case}` stands for the name, `*` and `?` as in a shell, and none of
    them for a path separator. Files or folders fit (a folder may hold a DICOM series). Where `{case}` stands twice,
    both are equal. Hidden names (a leading dot) fit only where the pattern has that dot. `option` names the pattern
    in errors. InputError for a pattern that is absolute, has no `{case}` or meets a folder that cannot be listed.
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
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); {option} looks there") from None
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
