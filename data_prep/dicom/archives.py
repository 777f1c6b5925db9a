"""Zip files of DICOM, as PACS and disks give them."""

from __future__ import annotations

import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.errors import InputError
from data_prep.files.plain_paths import plain_folder
from data_prep.formats.image_source import LARGEST_BYTES

ZIP = ".zip"
MOST_FILES = 100_000
DEEPEST = 3  # zip files in zip files
_MARK = 4  # bytes that may come before the first file
_NAMES = re.compile(r"""(['"]).*\1""")  # of files, in zipfile's errors: they may hold a patient's
_ENCRYPTED = 1  # flag of a file in it
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, UnicodeError)


@contextmanager
def unpacked(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder with the files of a zip file, and of zip files in it; it is removed afterwards.

    Files are numbered in the order of the archive: their own names are used for nothing but the ending, so that none
    leads elsewhere. InputError if the zip file is damaged, encrypted, or holds more than 16 GiB or 100,000 files.
    """
    path = Path(path)
    with plain_folder() as folder:
        _unpack(path, folder, path, [LARGEST_BYTES], DEEPEST)
        yield folder


def _unpack(path: Path, folder: Path, named: Path, left: list[int], depth: int) -> None:
    # left: bytes that may still be written, of all archives together
    try:
        with zipfile.ZipFile(path) as archive:
            if min((member.header_offset for member in archive.infolist()), default=0) > _MARK:
                raise zipfile.BadZipFile("only the directory of a zip file in it is whole")
            members = [member for member in archive.infolist() if not member.is_dir()]
            if any(member.flag_bits & _ENCRYPTED for member in members):
                raise InputError("is encrypted; expected a zip file without a password; unpack it", named)
            if any(member.compress_type not in _METHODS for member in members):
                raise InputError("is compressed in a way that is not read; unpack it", named)
            if len(members) > MOST_FILES:
                raise InputError(f"holds {len(members)} files; expected at most {MOST_FILES}; unpack it", named)
            for number, member in enumerate(members):
                left[0] -= member.file_size
                if left[0] < 0:
                    raise InputError(f"holds more than {LARGEST_BYTES >> 30} GiB; expected less; unpack it", named)
                inner = Path(member.filename).suffix.lower() == ZIP
                place = folder / f"{number:06d}{ZIP if inner else Path(member.filename).suffix[:8]}"
                with archive.open(member) as packed, open(place, "wb") as file:  # zipfile stops at `file_size`
                    shutil.copyfileobj(packed, file, 1 << 20)
                if inner and depth > 1:
                    below = folder / f"{number:06d}"
                    below.mkdir()
                    _unpack(place, below, named, left, depth - 1)
                    place.unlink()
    except _UNREADABLE as error:
        why = _NAMES.sub("...", " ".join(str(error).split()))[:200]
        raise InputError(f"cannot be unzipped ({ascii(why)[1:-1]}); restore the file", named, "damaged") from None
    except OSError as error:
        if error.filename not in (None, str(path)):  # of the disk that is written to
            raise
        raise InputError(f"cannot be read ({error.strerror}); restore the file", named, "damaged") from None
