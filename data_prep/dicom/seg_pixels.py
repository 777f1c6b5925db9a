"""The pixels of a DICOM Segmentation: frames as they are stored, and numbers of segments as labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.errors import InputError, raise_if_out_of_memory
from data_prep.files.quiet import silent
from data_prep.formats.gzip_stream import AGAIN
from data_prep.formats.image_source import check_size

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_UNLABELLED = 255


def read_frames(path: Path, data: Dataset, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the frames, unsigned integers [frames, rows, columns].

    InputError if they are compressed in a way that is not read (code `unreadable`), or damaged (`truncated`).
    """
    from pydicom.pixels import get_decoder

    check_size(path, shape, 1 + int(data.BitsAllocated) // 16)
    try:
        readable = get_decoder(data.file_meta.TransferSyntaxUID).is_available
    except (AttributeError, NotImplementedError):  # of a file that says nothing of its transfer syntax; of a new one
        readable = False
    if not readable:
        problem = "its frames are compressed in a way that is not read"
        raise InputError(f"{problem}; convert it to an uncompressed file (dcmdjpeg, gdcmconv --raw)", code="unreadable")
    try:
        with silent():
            return data.pixel_array.reshape(shape)
    except Exception as error:  # pydicom raises many types, which may quote the header
        raise_if_out_of_memory(error, path)
        problem = "the frames cannot be read; the file is truncated or damaged"
        raise InputError(f"{problem}; {AGAIN}", code="truncated") from None


def numbers_to_labels(numbers: np.ndarray, labels: Mapping[int, int]) -> np.ndarray:
    """Return the labels uint8 of numbers of segments, of any shape; 0 stays 0. InputError for a number without one."""
    table = np.full(int(numbers.max()) + 1, _UNLABELLED, np.uint8)
    table[0] = 0
    for number, label in labels.items():
        table[number : number + 1] = label
    found: np.ndarray = table[numbers]
    if (found == _UNLABELLED).any():
        raise undescribed(int(numbers[found == _UNLABELLED][0]))
    return found


def undescribed(number: int) -> InputError:
    """Return the error for a segment that has pixels and no description."""
    return InputError(f"pixels of segment {number}, which is not described; expected only described segments")
