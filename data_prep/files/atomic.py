"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TEMPORARY = re.compile(r"\.tmp-(\d+)-([0-9a-f]{8})-")
_DAY_S = 24 * 60 * 60


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds, remove it otherwise.

    The temporary name keeps the suffixes (`.nii.gz`, `.keras`), because writers choose the format by them. The data are
    flushed to the disk before the rename, so after a power cut either the old or the new file exists, whole. An OSError
    about the temporary file, or without a file name, gets the name of this file.
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
        if error.errno is not None and error.filename in (None, str(temporary)):  # write() on a full disk knows none
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_file(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all; what is on the disk is read back and compared. OSError if it differs."""
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if temporary.read_bytes() != content:
            raise OSError(errno.EIO, "what was written cannot be read back", str(path))


def temporary_beside(path: str | Path) -> Path:
    """Return the hidden path beside `path` that this process writes first; it names the process and its machine."""
    path = Path(path)
    return path.with_name(f".tmp-{os.getpid()}-{_host()}-{path.name}")


def remove_leftovers(folder: str | Path) -> int:
    """Remove temporary files and folders of killed processes from `folder`; return how many.

    Those of this machine are removed if their process has ended (or is this process, which must not be writing there).
    Processes of other machines cannot be seen: theirs are removed if they are older than a day.
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
    """Return whether a process runs; one that has ended and that nobody has waited for, as in a container, does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except ProcessLookupError:
        return False
    except OSError:  # it runs for another user, or this system has no /proc
        return True
