"""SHA-256 of files and of folders."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from data_prep.errors import InputError, raise_if_out_of_memory
from data_prep.files.regular_files import check_regular


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits; InputError for a pipe or a device."""
    check_regular(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_source(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of the content of a folder, such as a DICOM series.

    For a folder it is the SHA-256 of the sorted SHA-256s (as text, one per line) of the files below it, so it depends
    on neither their names nor their order. Links to folders are not followed. FileNotFoundError if there is no file.
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
    """Return `sha256_of_source`; InputError if the file or folder cannot be read."""
    try:
        return sha256_of_source(path)
    except OSError as error:
        raise_if_out_of_memory(error, path)
        detail = f"cannot be read ({error.strerror}); expected an image or label file"
        raise InputError(detail, path) from None
