"""Regular files: those of a folder in one order for all who number them, and no pipes and devices in their place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from data_prep.errors import InputError


def regular_files(folder: Path) -> tuple[list[Path], int]:
    """Return the files in and below a folder in the order of their paths' bytes, and how many links there are."""

    def fail(error: OSError) -> None:
        raise InputError(f"a folder in it cannot be read ({error.strerror}); allow it to be read", folder)

    if folder.is_file():
        raise InputError(
            "is a file; expected a folder with DICOM files (an archive: unpack it)", folder, "not_a_folder"
        )
    if not folder.is_dir():
        raise InputError("no such folder; expected one with DICOM files", folder, "no_such_file")
    found: list[Path] = []
    links = 0
    for root, folders, files in os.walk(folder, onerror=fail):
        links += sum(Path(root, name).is_symlink() for name in folders + files)
        found += [path for path in (Path(root, name) for name in files) if path.is_file() and not path.is_symlink()]
    return sorted(found, key=os.fsencode), links


def is_special(path: str | os.PathLike[str]) -> bool:
    """Return whether a path leads to a named pipe, a device or a socket: reading it may wait, or never end.

    A pipe that the shell opened, as in `--split <(jq ...)`, has no name and is none of these.
    """
    try:
        mode = os.stat(os.path.realpath(path)).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raise InputError for a named pipe, a device or a socket; before a file is read to its end."""
    if is_special(path):
        raise InputError("is a pipe or a device; expected a file", path, "not_a_file")
