"""Version folders of a served model: `ROOT/1`, `ROOT/2`, ...; each appears whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from data_prep.errors import InputError
from data_prep.files.atomic import remove_leftovers, temporary_beside


def publish(root: str | Path, write: Callable[[Path], None]) -> Path:
    """Publish the next version: `write` fills a folder, which then gets the next free number. Returns the folder.

    Servers look for folders whose names are numbers. Until all files are flushed to disk the folder has another name;
    the next call removes what a killed process left.
    """
    root = Path(root)
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: is a file; expected the folder of a model's versions, or a new folder")
    root.mkdir(parents=True, exist_ok=True)
    remove_leftovers(root)
    temporary = temporary_beside(root / "version")
    temporary.mkdir()
    try:
        write(temporary)
        _flush(temporary)
        number = 1 + max((int(entry.name) for entry in root.iterdir() if entry.name.isdecimal()), default=0)
        while True:
            try:
                temporary.rename(root / str(number))
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another export took the number
                    raise
                number += 1
        _flush_folder(root)
        return root / str(number)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def latest(root: str | Path) -> Path:
    """Return the version folder that a server loads: the highest number in `root`, or `root` if it is a version itself.

    InputError if there is none.
    """
    root = Path(root)
    if (root / "saved_model.pb").is_file():
        return root
    numbers = [int(entry.name) for entry in root.iterdir() if entry.name.isdecimal()] if root.is_dir() else []
    if not numbers:
        raise InputError(f"{root}: contains no exported model; expected a version folder, or the folder of versions")
    return root / str(max(numbers))


def _flush(folder: Path) -> None:
    for path, _, names in os.walk(folder):
        for name in names:
            with open(Path(path) / name, "rb") as file:
                os.fsync(file.fileno())
        _flush_folder(path)


def _flush_folder(path: str | Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
