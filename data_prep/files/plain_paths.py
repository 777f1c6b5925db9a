"""Give C++ libraries a path in UTF-8, if need be that of a link: they end the process at any other."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def is_plain(path: str | Path) -> bool:
    """Return whether a path can be encoded in UTF-8; names from old Windows shares and CDs often cannot.

    >>> is_plain("M\u00fcller/scan.nii.gz"), is_plain(os.fsdecode(b"M\\xfcller"))
    (True, False)
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def plain_folder() -> Iterator[Path]:
    """Yield a new temporary folder whose path can be encoded in UTF-8; it is removed afterwards.

    An OSError without a file name, as of a full disk, gets the name of the folder.
    """
    where = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(dir=where if is_plain(where) else "/tmp") as folder:
        try:
            yield Path(folder)
        except OSError as error:
            if error.errno is not None and error.filename is None:
                error.filename = folder
            raise


@contextmanager
def plain_path(path: str | Path) -> Iterator[str]:
    """Yield a path of an existing file or folder that can be encoded in UTF-8: its own, or that of a link to it.

    Only the folder's name of the link differs, unless the name itself cannot be encoded: then it is `link`.
    """
    path = Path(path)
    if is_plain(path):
        yield str(path)
        return
    with plain_folder() as folder:
        link = folder / (path.name if is_plain(path.name) else "link")
        link.symlink_to(path.absolute())
        yield str(link)
