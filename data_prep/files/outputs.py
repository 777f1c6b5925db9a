"""Where a command may write: asked before its work, by every command that writes.

Inputs are never written over, and a file that is not of the kind that the command writes is never replaced, whatever
the options. `files.atomic` then writes whole files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from data_prep.errors import InputError, of_os_error
from data_prep.files.atomic import temporary_beside
from data_prep.files.json_files import read_json
from data_prep.files.regular_files import is_special

Ours = Callable[[Path], bool]  # whether an existing file is of the kind that a command writes

_ELSEWHERE = "choose another name, or move it away"


def check_outputs(
    outputs: Iterable[str | Path], inputs: Iterable[str | Path] = (), ours: Ours = lambda path: False
) -> None:
    """Raise InputError unless a command that reads `inputs` (files or folders) may write each of `outputs` (files).

    Codes: `is_input` if one is an input, by whatever name; `foreign` if one exists and `ours` does not know it; else
    the name of the system's error (such as `ELOOP`): its folder cannot be made or written to, or its name is too long.
    """
    read = {identity for path in inputs if (identity := _identity(path)) is not None}
    for path in map(Path, outputs):
        check_place(path)
        identity = _identity(path)
        if identity is not None and identity in read:
            raise InputError("is an input, which is never written over; choose another name", path, "is_input")
        if path.is_dir():
            raise InputError("is a folder; expected the name of a file to write", path, "EISDIR")
        if os.path.lexists(path) and (is_special(path) or not ours(path)):
            raise InputError(
                f"exists and is nothing that this command writes, so it is not replaced; {_ELSEWHERE}", path, "foreign"
            )


def check_place(path: str | Path) -> None:
    """Raise InputError unless a file can be made at `path`; its folder need not exist. Nothing is written."""
    path = Path(path)
    try:
        for name in (path, temporary_beside(path)):
            _refuse_unusable(name)
        check_folder(path.parent)
    except OSError as error:
        raise of_os_error(error) or error from None


def check_folder(folder: str | Path) -> None:
    """Raise InputError unless `folder` is one that may be written to, or can be made. Nothing is written."""
    folder = Path(folder)
    try:
        _refuse_unusable(folder)
    except OSError as error:
        raise of_os_error(error) or error from None
    found = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(place))
    if not found.is_dir():
        what = "is a link to nothing" if found.is_symlink() else "is a file"
        raise InputError(f"{what}; expected a folder, or a new name", found, "ENOTDIR")
    if not os.access(found, os.W_OK | os.X_OK):
        raise InputError("may not be written to; choose another folder, or allow it", found, "EACCES")


def has_keys(*keys: str) -> Ours:
    """Return a function that tells whether a file holds a JSON object with all these keys."""

    def ours(path: Path) -> bool:
        try:
            content = read_json(path, "")
        except InputError:
            return False
        return isinstance(content, dict) and set(keys) <= set(content)

    return ours


def has_text(*texts: bytes) -> Ours:
    """Return a function that tells whether a file holds all these bytes."""

    def ours(path: Path) -> bool:
        try:
            content = b"" if is_special(path) else path.read_bytes()
        except OSError:
            return False
        return all(text in content for text in texts)

    return ours


def _refuse_unusable(path: Path) -> None:
    # raises what makes a path unusable, such as a loop of links, a file as a folder or a name that is too long
    with suppress(FileNotFoundError):
        os.lstat(path)


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
