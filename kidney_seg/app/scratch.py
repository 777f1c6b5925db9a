"""The temporary folder of one start of the page: gone at its end, or at the next start after a kill."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data_prep.errors import InputError
from data_prep.files.locks import LOCK, locked

PREFIX = "kidney_seg-app-"
_NEW = "kidney_seg-new-"  # until its lock is held, so that no other start takes it for abandoned


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder that only this user may read; first remove those of starts that were killed."""
    remove_abandoned()
    new = Path(tempfile.mkdtemp(prefix=_NEW))
    with locked(new, "choose another folder"):
        folder = new.with_name(PREFIX + new.name.removeprefix(_NEW))
        new.rename(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned() -> None:
    """Remove this user's folders whose lock no process holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError, InputError):
            if folder.is_symlink() or not (folder / LOCK).is_file() or folder.stat().st_uid != os.getuid():
                continue
            with locked(folder, "it is in use"):
                shutil.rmtree(folder, ignore_errors=True)
