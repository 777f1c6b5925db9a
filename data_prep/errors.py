"""Errors in the user's input, shared by all modules."""

from __future__ import annotations

import errno
import importlib
import os
import re
from pathlib import Path
from types import ModuleType


class InputError(Exception):
    """User input that cannot be used. Commands print it as one line and end with exit code 2.

    Args:
        detail: the problem, the expected input and the fix; one line, without the path.
        path: the file or folder concerned; it precedes the detail in the message.
        code: an identifier of the problem for programs, such as `no_such_file`; it never changes.

    >>> str(InputError("the file is empty; download it again", "a.nii.gz", "empty_file"))
    'a.nii.gz: the file is empty; download it again'
    """

    def __init__(self, detail: str, path: str | os.PathLike[str] | None = None, code: str = "input"):
        super().__init__(detail)
        self.detail, self.code = detail, code
        self.path = None if path is None else Path(path)

    def __str__(self) -> str:
        return self.detail if self.path is None else f"{self.path}: {self.detail}"


class Note(str):
    """A decision of a reader: one line, with an identifier of what it decided for programs, as an error has it.

    >>> Note("the header has no orientation: axial, LPS assumed", "no_orientation").code
    'no_orientation'
    """

    code: str

    def __new__(cls, text: str, code: str = "reader_note") -> Note:
        """Make a note of a text."""
        note = super().__new__(cls, text)
        note.code = code
        return note


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # would stop every other file as well
_REMEDIES = {
    **dict.fromkeys(NO_ROOM, "free some space or choose another folder, then run this again"),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR),
        "choose a folder that you may read and write, then run this again",
    ),
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "a link in it leads back to itself; choose another path",
    errno.EISDIR: "expected a file",
}


NO_MEMORY = "not enough memory; close other programs, use fewer --jobs, or another machine"
_OUT_OF_MEMORY = re.compile(
    r"out of memory|(cannot|unable to|failed to) allocate|bad.?alloc|failed to map segment",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says, in the words of any library, that memory is short.

    HDF5's "memory allocation failed" is none: it says so of damaged files, which claim any size.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("std::bad_alloc")), is_out_of_memory(OSError())
    (True, True, False)
    """
    if isinstance(error, InputError):
        return False
    short = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    return short or bool(_OUT_OF_MEMORY.search(str(error)))


def raise_if_out_of_memory(error: BaseException, path: str | os.PathLike[str] | None = None) -> None:
    """Raise MemoryError, with one line as its text, if `is_out_of_memory(error)`.

    Asked first wherever any other failure to read a file means that the file is damaged.
    """
    if is_out_of_memory(error):
        text = str(error) if isinstance(error, MemoryError) and NO_MEMORY in str(error) else NO_MEMORY
        raise MemoryError(text if path is None or text != NO_MEMORY else f"{path}: {text}") from None


def of_memory_error(error: MemoryError, path: str | os.PathLike[str] | None = None) -> InputError:
    """Return the one line of a lack of memory (code `no_memory`), of one of several files."""
    text = str(error)
    return InputError(text, code="no_memory") if NO_MEMORY in text else InputError(NO_MEMORY, path, "no_memory")


def of_os_error(error: OSError) -> InputError | None:
    """Return the one line of an error of the disk or of a path; None if it names neither: that is a fault of ours.

    >>> str(of_os_error(OSError(errno.ENOSPC, "No space left on device", "a.h5")))
    'a.h5: No space left on device; free some space or choose another folder, then run this again'
    """
    path = error.filename2 or error.filename
    if error.errno is None or (path is None and error.errno not in _REMEDIES):
        return None
    remedy = _REMEDIES.get(error.errno, "choose another file or folder")
    named = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else None
    return InputError(f"{error.strerror}; {remedy}", named, errno.errorcode.get(error.errno, ""))


def require(module: str, extra: str) -> ModuleType:
    """Import and return a module that only an extra of this project installs.

    InputError with the pip command if its package is not installed; an import error inside an installed package keeps
    its traceback.

    >>> require("math", "onnx").pi > 3
    True
    >>> require("no_such_package.part", "onnx")
    Traceback (most recent call last):
    data_prep.errors.InputError: the package no_such_package is not installed; run: pip install 'kidney_seg[onnx]'
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        detail = f"the package {package} is not installed; run: pip install 'kidney_seg[{extra}]'"
        raise InputError(detail, code="missing_package") from None
