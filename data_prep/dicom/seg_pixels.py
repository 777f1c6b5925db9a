"""What a DICOM Segmentation holds: its data set, inflated where it is deflated, and its frames as labels."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.dicom.headers import DEFLATED, read_meta
from data_prep.errors import InputError, raise_if_out_of_memory
from data_prep.files.quiet import silent
from data_prep.formats.gzip_stream import AGAIN, ByteStream
from data_prep.formats.image_source import SLACK_BYTES, check_size, opened

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_UNLABELLED = 255
_MOST_HEADER = 64 << 20  # bytes before the pixels; those of 10,000 frames are some 10 MB
_PIXELS = 0x7FE00008  # the first tag of pixels
_SIZE = ("NumberOfFrames", "Rows", "Columns")
_ELEMENT_BYTES = 12  # of tag, type and length before a value


def read_data_set(path: Path) -> Dataset:
    """Return the whole data set of a DICOM file; any exception of pydicom for a damaged one.

    A deflated data set may hold no more than its header promises, whatever it inflates to: InputError otherwise.
    """
    import pydicom
    from pydicom.filereader import read_dataset

    with opened(path) as file:
        meta = read_meta(file)
        if meta.get("TransferSyntaxUID") != DEFLATED:
            file.seek(0)
            return pydicom.dcmread(file)
        data = read_dataset(io.BytesIO(_inflated(ByteStream(file, "deflate", path), path)), False, True)
    return pydicom.FileDataset(str(path), data, file_meta=meta, is_implicit_VR=False, is_little_endian=True)


def _inflated(stream: ByteStream, path: Path) -> bytes:
    from pydicom.filereader import read_dataset

    start = stream.read(_MOST_HEADER)
    if len(start) < _MOST_HEADER:
        return start
    file = io.BytesIO(start)
    header = read_dataset(file, False, True, stop_when=lambda tag, *_: int(tag) >= _PIXELS)
    if (place := file.tell()) >= len(start):
        problem = f"inflates to more than {_MOST_HEADER >> 20} MiB before its pixels; expected a DICOM Segmentation"
        raise InputError(f"{problem}; {AGAIN}", path, "damaged")
    size, bits = [int(header[name].value) for name in _SIZE], int(header.BitsAllocated)
    check_size(path, size, 1 + bits // 16)
    end = place + _ELEMENT_BYTES + math.prod(size) * bits // 8 + 1
    following = stream.read(max(0, end - len(start)))
    stream.finish(SLACK_BYTES)
    return start + following


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
