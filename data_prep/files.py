"""Files that appear whole or not at all, and their checksums."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_prep.command import InputError

_TEMPORARY = re.compile(r"\.tmp-(\d+)-([0-9a-f]{8})-")
_DAY_S = 24 * 60 * 60


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it onto `path` when the block ends well, remove it otherwise.

    The temporary name keeps the suffixes (`.nii.gz`, `.keras`), because writers choose the format by them. The data are
    flushed to the disk before the rename, so after a power cut the old file or the new one is there, whole. An OSError
    that names no file gets the name of this one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # a full disk is met by write(), which knows no name
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: str | Path) -> Path:
    """Return the hidden name beside `path` that this process writes to first; `remove_leftovers` knows whose it is."""
    path = Path(path)
    return path.with_name(f".tmp-{os.getpid()}-{_host()}-{path.name}")


def remove_leftovers(folder: str | Path) -> int:
    """Remove what was left in `folder` under temporary names when its process was killed; return how many.

    A file, or a folder with all that is in it, goes if its process is gone from this machine (or is this very process,
    which must not be writing there). Another machine's processes cannot be seen: of these, only files that are older
    than a day go.
    """
    removed = 0
    for path in Path(folder).glob(".tmp-*"):
        match = _TEMPORARY.match(path.name)
        if match is None:
            continue
        try:
            if match[2] != _host():
                dead = time.time() - path.stat().st_mtime > _DAY_S
            else:
                dead = int(match[1]) == os.getpid() or not _is_running(int(match[1]))
            if dead:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
        except FileNotFoundError:  # another process was quicker
            continue
    return removed


def _host() -> str:
    return hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:8]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_source(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of a folder's content, such as a DICOM series.

    A folder's is the SHA-256 of the sorted SHA-256s (as text, a line each) of the files below it, so it depends on
    neither their names nor their order. Links to folders are not followed. FileNotFoundError if there is no file.
    """
    path = Path(path)
    if not path.is_dir():
        return sha256_of(path)
    files = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    hashes = sorted(sha256_of(file) for file in files if file.is_file())
    if not hashes:
        raise FileNotFoundError(2, "the folder holds no file", str(path))
    return hashlib.sha256("".join(f"{line}\n" for line in hashes).encode()).hexdigest()


def checked_sha256(path: str | Path) -> str:
    """Return `sha256_of_source`; InputError where the file or folder cannot be read."""
    try:
        return sha256_of_source(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected an image or label file") from None


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
