"""What is read of DICOM headers, and nothing else: no name, number, date or free text of a patient leaves this file."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.formats.image_source import opened

TAGS = (  # all that is asked of a data set; SeriesInstanceUID is kept as a hash, Modality only if it is a known one
    "SOPClassUID",
    "ImageType",
    "Modality",
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
    "BitsAllocated",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
)
_MODALITIES = ("CR", "CT", "DX", "KO", "MG", "MR", "NM", "OT", "PR", "PT", "REG", "RTDOSE", "RTPLAN", "RTSTRUCT", "SC",
              "SEG", "SR", "US", "XA")  # fmt: skip
CT, LOCALIZER, CAPTURE, MULTI_FRAME, OTHER = (
    "CT image",
    "localizer",
    "secondary capture",
    "multi-frame CT",
    "other image",
)

_CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
_ENHANCED_CT_CLASSES = (_CT_CLASS + ".1", _CT_CLASS + ".2")
_CAPTURE_CLASS = "1.2.840.10008.5.1.4.1.1.7"
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class SliceHeader:
    """One DICOM file.

    file: its number, from 1, among all files in and below the folder in the order of their paths' bytes: errors name
    files so, because names of DICOM files hold identifiers; series: eight hex digits of the SHA-256 of the series' UID;
    position, orientation: LPS, mm; pixel_spacing: between rows, between columns, mm; None where absent or no numbers.
    """

    file: int
    path: Path = field(repr=False)
    series: str
    modality: str
    kind: str
    derived: bool
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    size: tuple[int, int]  # columns, rows
    samples: int
    bits: int
    slope: float | None
    intercept: float | None
    units: str  # RescaleType, empty where absent


@dataclass(frozen=True)
class Scan:
    """What a folder holds: images, numbers of files that look like damaged DICOM, how many links were passed over."""

    images: tuple[SliceHeader, ...]
    damaged: tuple[int, ...]
    files: int
    links: int


def scan_folder(folder: Path) -> Scan:
    """Read the headers of all DICOM files in a folder and the folders in it; links are not followed."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; expected one with DICOM files")
    paths, links = _regular_files(folder)
    images: list[SliceHeader] = []
    damaged: list[int] = []
    with silent():
        for number, path in enumerate(paths, 1):
            try:
                header = _read(path, number)
            except Exception:  # pydicom's errors are of many types; they may quote the header, ours the file's name
                damaged.append(number)
            else:
                images += [header] if header else []
    return Scan(tuple(images), tuple(damaged), len(paths), links)


def _regular_files(folder: Path) -> tuple[list[Path], int]:
    def fail(error: OSError) -> None:
        raise InputError(f"{folder}: a folder in it cannot be read ({error.strerror}); allow it to be read")

    found: list[Path] = []
    links = 0
    for root, folders, files in os.walk(folder, onerror=fail):
        for path in (Path(root, name) for name in folders + files):
            links += path.is_symlink()
        found += [path for path in (Path(root, name) for name in files) if path.is_file() and not path.is_symlink()]
    return sorted(found, key=os.fsencode), links


@contextmanager
def silent() -> Iterator[None]:
    # pydicom warns of malformed values and quotes them; names and numbers of patients would stand in a log
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _read(path: Path, number: int) -> SliceHeader | None:
    """Return the header; None for what is no DICOM image; any exception for what should be one."""
    import pydicom

    with opened(path) as file:
        start = file.read(132)
    if start[128:] != b"DICM" and start[:2] != b"\x08\x00":  # files without preamble begin with group 8
        if path.suffix.lower() == ".dcm":
            raise ValueError
        return None
    if start[128:] == b"DICM":
        meta = pydicom.filereader.read_file_meta_info(path)
        if meta.get("MediaStorageSOPClassUID") == _DIRECTORY_CLASS:
            return None
        if meta.get("TransferSyntaxUID") == _DEFLATED:  # would be inflated whole, whatever its size
            raise ValueError
    data = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
    # anonymizers may empty the data set's own; the file's stays
    sop_class = str(data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID") or "")
    modality = str(data.get("Modality") or ("CT" if sop_class == _CT_CLASS else ""))
    if not (sop_class or modality):
        raise ValueError
    image_type = [str(part) for part in data.get("ImageType") or ()]
    return SliceHeader(
        file=number,
        path=path,
        series=hashlib.sha256(str(data.get("SeriesInstanceUID") or "").encode()).hexdigest()[:8],
        modality=modality if modality in _MODALITIES else "another modality",
        kind=_kind(sop_class, modality, image_type, _count(data, "NumberOfFrames", 1)),
        derived=image_type[:2] == ["DERIVED", "SECONDARY"],
        position=_numbers(data, "ImagePositionPatient", 3),
        orientation=_numbers(data, "ImageOrientationPatient", 6),
        pixel_spacing=_numbers(data, "PixelSpacing", 2),
        size=(_count(data, "Columns", 0), _count(data, "Rows", 0)),
        samples=_count(data, "SamplesPerPixel", 1),
        bits=_count(data, "BitsAllocated", 16),
        slope=_number(data, "RescaleSlope"),
        intercept=_number(data, "RescaleIntercept"),
        units=str(data.get("RescaleType") or "").upper(),
    )


def _kind(sop_class: str, modality: str, image_type: list[str], frames: int) -> str:
    if modality != "CT":
        return OTHER
    if sop_class in _ENHANCED_CT_CLASSES or frames > 1:
        return MULTI_FRAME
    if sop_class.startswith(_CAPTURE_CLASS):
        return CAPTURE
    if "LOCALIZER" in image_type:
        return LOCALIZER
    return CT if sop_class in ("", _CT_CLASS) else OTHER


def _numbers(data: Any, name: str, count: int) -> tuple[float, ...] | None:
    try:
        values = tuple(float(value) for value in data.get(name))
    except (TypeError, ValueError):
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def _number(data: Any, name: str) -> float | None:
    value = data.get(name)
    return None if value is None or value == "" else float(value)


def _count(data: Any, name: str, default: int) -> int:
    value = _number(data, name)
    return default if value is None else int(value)
