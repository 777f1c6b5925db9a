"""The pixels of DICOM slices in HU, and why a slice's values are no HU; lengths are compared with the header."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from data_prep.dicom.headers import SliceHeader, files_named
from data_prep.errors import raise_if_out_of_memory
from data_prep.files.plain_paths import plain_path
from data_prep.files.quiet import quiet_stderr, silent
from data_prep.formats.gzip_stream import AGAIN

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

_MOST_PIXELS = 8192 * 8192  # of a slice
_HU_TYPES = ("", "HU", "US")  # RescaleType: absent, Hounsfield units, unspecified
_GRAY = ("MONOCHROME1", "MONOCHROME2")  # the first is shown inverted; its values are as ever
_LARGEST_SLOPE, _LARGEST_INTERCEPT = 100.0, 1e5  # of values in HU
_TAGS = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelData", "FloatPixelData", "DoubleFloatPixelData", "PixelDataProviderURL",
)  # fmt: skip
_REQUIRED = ("BitsAllocated", "BitsStored", "PixelRepresentation", "PhotometricInterpretation", "SamplesPerPixel")
_BITS = (8, 16, 32)
_UNCOMPRESSED = ("1.2.840.10008.1.2", *(f"1.2.840.10008.1.2.{end}" for end in ("1", "2", "5")))  # the last: RLE
_JPEG = [f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91)]  # JPEG, JPEG-LS, JPEG 2000
_HU = np.iinfo(np.int16)
_WHOLE = "export the CT with whole numbers of 16 bits (PixelData)"
_UNCOMPRESS = "convert the series to uncompressed files (dcmdjpeg, gdcmconv --raw)"
_END = b"\xff\xd9"  # of a JPEG, JPEG-LS and JPEG 2000 image


class PixelError(Exception):
    """Pixels that cannot be read; its text says why, and quotes nothing of the file.

    remedy: what to do; that of a damaged file unless it is whole and the pixels are of a kind that is not read.
    """

    def __init__(self, problem: str, remedy: str = AGAIN):
        super().__init__(problem)
        self.remedy = remedy

    @property
    def code(self) -> str:
        """Of the InputError: `truncated` for a damaged file."""
        return "truncated" if self.remedy == AGAIN else "unreadable"


def problem_of_values(images: Sequence[SliceHeader]) -> str:
    """Return why the voxels of a series are not gray values in HU, by the headers; empty if they are."""
    if colored := sum(image.samples != 1 or image.photometric not in _GRAY for image in images):
        return f"{colored} slices are in color; expected one value per voxel; export the CT itself"
    if tables := sum(image.has_table for image in images):
        found = f"{tables} slices have a table of values (Modality LUT) in place of RescaleSlope and RescaleIntercept"
        return f"{found}, which is not read; expected the two numbers; export the CT with them"
    if {image.units for image in images} - set(_HU_TYPES):
        return "values are not HU (their RescaleType is another); expected HU; export the CT itself"
    for name, limit in (("slope", _LARGEST_SLOPE), ("intercept", _LARGEST_INTERCEPT)):
        for number in (getattr(image, name) for image in images):
            if number is not None and not (abs(number) <= limit and (name == "intercept" or number)):
                wrong = f"Rescale{name.capitalize()} is {number:g}; expected a number"
                return f"{wrong} up to {limit:g}" + ", not 0" * (name == "slope") + f", which gives HU; {AGAIN}"
    for image in images:
        if math.prod(image.size) > _MOST_PIXELS:
            claim = f"{image.size[0]} x {image.size[1]} pixels of {image.bits} bits"
            return f"{files_named([image.file])} claims {claim}; expected a CT slice; {AGAIN}"
        if image.bits not in _BITS:
            return f"{files_named([image.file])} has pixels of {image.bits} bits; expected 8, 16 or 32; {_WHOLE}"
    return ""


def read_hu(image: SliceHeader) -> np.ndarray:
    """Return the pixels of a slice as int16 HU [rows, columns]; values beyond int16 are clipped.

    Uncompressed and RLE pixels are decoded by pydicom, which compares their length with the header; JPEG pixels by
    GDCM, after a check that they are whole and of the header's size. PixelError if they are not.
    """
    import pydicom

    with silent():
        try:
            data = pydicom.dcmread(image.path, force=True, specific_tags=list(_TAGS))
            syntax = pydicom.uid.UID(data.file_meta.get("TransferSyntaxUID") or "")
            if not syntax:  # a file without its first part
                implicit, little = data.original_encoding
                syntax = pydicom.uid.UID(_native_syntax(implicit, little))
                data.file_meta.TransferSyntaxUID = syntax
            _check_kind(data, syntax)
            values = _decoded_by_gdcm(image, data) if syntax in _JPEG else _decoded(image, data)
        except PixelError:
            raise
        except Exception as error:  # pydicom raises many types, which may quote the header
            raise_if_out_of_memory(error)
            raise PixelError(f"the file is truncated or damaged, {type(error).__name__}") from None
    if values.shape != image.size[::-1]:
        raise PixelError("they have another size than the header says")
    return np.clip(np.rint(values), _HU.min, _HU.max).astype(np.int16)


def _check_kind(data: Dataset, syntax: UID) -> None:
    """Raise PixelError if the file may be whole, and its pixels are of a kind that is not read."""
    if "PixelData" not in data:
        for name in ("FloatPixelData", "DoubleFloatPixelData"):
            if name in data:
                raise PixelError(f"they are fractions ({name}), which are not read", _WHOLE)
        if "PixelDataProviderURL" in data:
            raise PixelError("they are on a server (PixelDataProviderURL)", "export the files with their pixels")
        raise PixelError("it has none")
    if syntax in _JPEG:
        return
    if syntax not in _UNCOMPRESSED:
        known = not syntax.is_private and syntax.type == "Transfer Syntax"
        how = f"as {syntax.name}" if known else "in a way that is not known"
        raise PixelError(f"they are stored {how}, which is not read", _UNCOMPRESS)
    if lacking := [name for name in _REQUIRED if data.get(name) in (None, "")]:
        raise PixelError(f"the header lacks {', '.join(lacking)}", "export the series again")


def _native_syntax(implicit: bool | None, little: bool | None) -> str:
    import pydicom

    if implicit:
        return str(pydicom.uid.ImplicitVRLittleEndian)
    return str(pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian)


def _decoded(image: SliceHeader, data: Dataset) -> np.ndarray:
    columns, rows = image.size
    if not data.file_meta.TransferSyntaxUID.is_encapsulated:  # not RLE
        found, row = len(data.PixelData), columns * image.bits // 8
        if not rows * row <= found < rows * row + max(row, 2):
            raise PixelError(f"{found} bytes where the header promises {rows * row}; the file is truncated or damaged")
    stored = data.pixel_array
    used, high = int(data.get("BitsStored") or image.bits), int(data.get("HighBit") or image.bits - 1)
    if not 0 < used <= high + 1 <= image.bits:
        raise PixelError("their numbers of bits contradict each other")
    if used < image.bits and high + 1 == used:  # unused bits may hold anything, such as an overlay
        shift = image.bits - used
        stored = (stored << shift) >> shift  # of signed numbers, the sign is kept
    slope, intercept = 1.0 if image.slope is None else image.slope, image.intercept or 0.0
    return np.asarray(stored * np.float64(slope) + intercept)


def _decoded_by_gdcm(image: SliceHeader, data: Dataset) -> np.ndarray:
    import SimpleITK as sitk
    from pydicom.encaps import generate_frames

    if image.photometric != "MONOCHROME2":  # GDCM inverts the values
        raise PixelError(f"they are compressed {image.photometric}, which is not read", _UNCOMPRESS)
    (frame,) = generate_frames(data.PixelData, number_of_frames=1)
    if not frame.rstrip(b"\0\xff").endswith(_END):  # some writers pad with 255
        raise PixelError("the compressed image has no end; the file is truncated or damaged")
    if (size := _size_of_jpeg(frame)) == (0, 0):
        raise PixelError("the compressed image has no size; the file is damaged")
    if size != image.size:
        raise PixelError(f"the compressed image has {size[0]} x {size[1]} pixels, the header another number")
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    warnings = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with plain_path(image.path) as path, quiet_stderr():
            reader.SetFileName(path)
            values: np.ndarray = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:  # its text holds the file's name
        raise_if_out_of_memory(error)
        raise PixelError("the file is damaged, or packed in a way that is not read") from None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warnings)
    return values[0]


def _size_of_jpeg(frame: bytes) -> tuple[int, int]:
    """Return columns and rows of a JPEG, JPEG-LS or JPEG 2000 image by its own header; (0, 0) if it has none."""

    def number(start: int, length: int) -> int:
        return int.from_bytes(frame[start : start + length], "big")

    place = 2
    while place + 20 < len(frame) and frame[place] == 0xFF:
        marker, length = frame[place + 1], number(place + 2, 2)
        if marker == 0x51:  # JPEG 2000: size and offset of the grid
            return number(place + 6, 4) - number(place + 14, 4), number(place + 10, 4) - number(place + 18, 4)
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return number(place + 7, 2), number(place + 5, 2)
        place += 2 + length if marker != 0xFF else 1
    return 0, 0
