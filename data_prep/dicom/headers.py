"""The headers of DICOM files: only a fixed list of tags is read, and nothing that identifies a patient leaves here.

The one exception is `scan_folder(whole=True)`: a DICOM SEG must repeat the patient and the study.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from data_prep.dicom.phases import phase_of
from data_prep.errors import InputError, raise_if_out_of_memory
from data_prep.files.quiet import silent
from data_prep.files.regular_files import regular_files
from data_prep.formats.image_source import opened

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileMetaDataset

TAGS = (  # UIDs and PatientID are kept as hashes, Modality only if it is a known one, descriptions as a phase
    "SOPClassUID", "ImageType", "Modality", "SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated", "RescaleIntercept",
    "RescaleSlope", "RescaleType", "PhotometricInterpretation", "ModalityLUTSequence", "BodyPartExamined",
    "StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "PatientID", "SeriesDescription", "ProtocolName",
)  # fmt: skip
_MODALITIES = "CR CT DX KO MG MR NM OT PR PT REG RTDOSE RTPLAN RTSTRUCT SC SEG SR US XA".split()
CT, LOCALIZER, CAPTURE, MULTI_FRAME, OTHER = (
    "CT image", "localizer", "secondary capture", "multi-frame CT", "other image"
)  # fmt: skip
_OTHER_PARTS = "HEAD BRAIN SKULL NECK CHEST LUNG HEART SHOULDER HAND LEG KNEE FOOT CSPINE TSPINE".split()
_CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
_ENHANCED_CT_CLASSES = (_CT_CLASS + ".1", _CT_CLASS + ".2")
_CAPTURE_CLASS = "1.2.840.10008.5.1.4.1.1.7"
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_INSTANCE_DIGITS = 32  # of thousands of UIDs in one series, no two may get the same
DEFLATED = "1.2.840.10008.1.2.1.99"
_PREAMBLE = 132  # bytes before the first part, of which the last four are DICM
_GROUPS = (b"\x02\x00", b"\x08\x00")  # that a file without preamble may begin with


class _UnreadError(Exception):
    """A file that is or should be DICOM, and is not read; its text says why, and quotes nothing."""


@dataclass(frozen=True)
class SliceHeader:
    """The header of one DICOM file; None for what is absent or not a number."""

    file: int  # number among all files in and below the folder, from 1, by the bytes of their paths; for errors
    path: Path = field(repr=False)  # names of DICOM files hold identifiers
    series: str  # `series_key` of its UID, as the next one
    study: str
    modality: str
    kind: str
    derived: int  # 0 original, 1 DERIVED\\PRIMARY, 2 DERIVED\\SECONDARY
    position: tuple[float, ...] | None  # LPS, mm
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None  # between rows, between columns, mm
    size: tuple[int, int]  # columns, rows
    samples: int
    bits: int
    slope: float | None
    intercept: float | None
    units: str  # RescaleType, empty if absent
    photometric: str
    has_table: bool  # a Modality LUT in place of slope and intercept
    other_part: bool  # of a body part without kidneys, by BodyPartExamined
    phase: str = ""  # `phase_of` its description
    instance: str = ""  # hash of its own UID, empty if it has none; copies have the same
    patient: str = ""  # `series_key` of PatientID, empty if it has none
    frame: str = ""  # likewise, of the frame of reference
    data: Dataset | None = field(default=None, repr=False, compare=False)  # the whole header, if asked for


@dataclass(frozen=True)
class FolderScan:
    """The DICOM files of a folder: images, files that cannot be read, counts of all files and of skipped links."""

    folder: Path
    images: tuple[SliceHeader, ...]
    unread: tuple[tuple[int, str], ...]  # number of the file, and why it is not read
    files: int
    links: int

    @property
    def reasons(self) -> str:
        """Which files are not read, and why; empty if there are none."""
        by_reason: dict[str, list[int]] = {}
        for number, why in self.unread:
            by_reason.setdefault(why, []).append(number)
        return "; ".join(f"{len(numbers)} {why} ({files_named(numbers)})" for why, numbers in by_reason.items())


def scan_folder(folder: str | Path, *, whole: bool = False) -> FolderScan:
    """Read the header of each DICOM file in a folder and its subfolders once; links are not followed.

    whole: keep the whole headers of CT images, which a DICOM SEG repeats; they identify the patient.
    """
    paths, links = regular_files(Path(folder))
    return scan_files(paths, folder, links=links, whole=whole)


def scan_files(paths: Iterable[Path], folder: str | Path, *, links: int = 0, whole: bool = False) -> FolderScan:
    """Read the headers of files, of which those that are no DICOM are skipped; otherwise as `scan_folder`."""
    images: list[SliceHeader] = []
    count = 0
    unread: list[tuple[int, str]] = []
    with silent():
        for number, path in enumerate(paths, 1):
            count = number
            try:
                images += [_read(path, number, whole)] if _is_image(path) else []
            except _UnreadError as error:
                unread.append((number, str(error)))
            except InputError:
                unread.append((number, "that cannot be opened"))
            except Exception as error:  # pydicom raises many types, which may quote the header; ours quote a name
                raise_if_out_of_memory(error, folder)
                unread.append((number, f"with a header that cannot be read, {type(error).__name__}"))
    return FolderScan(Path(folder), tuple(images), tuple(unread), count, links)


def holds_dicom(folder: str | Path) -> bool:
    """Return whether a folder is one of DICOM files: one is or should be DICOM by its first bytes, or all are links."""
    paths, links = regular_files(Path(folder))
    with silent():
        for path in paths:
            try:
                if _is_image(path):
                    return True
            except Exception as error:
                raise_if_out_of_memory(error, folder)
                return True
    return bool(links and not paths)


def files_named(numbers: Sequence[int]) -> str:
    """Name files by their numbers, because their names may hold identifiers."""
    more = ", ..." if len(numbers) > 5 else ""
    return f"file number {', '.join(map(str, numbers[:5]))}{more} in the order of names"


def series_key(uid: Any, digits: int = 8) -> str:
    """Return the name of a series in this project: the first hex digits of the SHA-256 of its UID."""
    return hashlib.sha256(str(uid or "").encode()).hexdigest()[:digits]


def read_meta(file: BinaryIO) -> FileMetaDataset:
    """Return the first part of a DICOM file (group 2), which is never compressed, and leave the file at the second."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset

    file.seek(0)
    start = _PREAMBLE if file.read(_PREAMBLE).endswith(b"DICM") else 0
    for implicit in (False, True):  # the second is against the standard, and read by pydicom nevertheless
        file.seek(start)
        meta = read_dataset(file, implicit, True, stop_when=lambda tag, *_: int(tag) >> 16 != 2)
        with suppress(NotImplementedError):
            list(meta)
            break
    return FileMetaDataset(meta)


def _is_image(path: Path) -> bool:
    """Return whether a file is DICOM, but not a DICOMDIR; any exception for a file that should be DICOM and is not."""
    with opened(path) as file:
        start = file.read(_PREAMBLE)
        if not start.endswith(b"DICM") and start[:2] not in _GROUPS:
            if path.suffix.lower() == ".dcm":
                raise _UnreadError("named .dcm, but no DICOM by the first bytes" if start else "empty")
            return False
        meta = read_meta(file)
    directory: bool = meta.get("MediaStorageSOPClassUID") == _DIRECTORY_CLASS
    if not directory and meta.get("TransferSyntaxUID") == DEFLATED:  # would be inflated whole, whatever its size
        raise _UnreadError("deflated, which is not read (dcmconv +te inflates it)")
    return not directory


def _read(path: Path, number: int, whole: bool) -> SliceHeader:
    import pydicom

    data = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=None if whole else list(TAGS))
    # anonymizers may empty the data set's class and UID, but not the file's
    sop_class = str(data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID") or "")
    modality = str(data.get("Modality") or ("CT" if sop_class == _CT_CLASS else ""))
    if not (sop_class or modality):
        raise _UnreadError("with a header that is cut off or names no modality")
    image_type = [str(part) for part in data.get("ImageType") or ()]
    kind = _kind(sop_class, modality, image_type, int(_number(data, "NumberOfFrames", 1)))
    instance = data.get("SOPInstanceUID") or data.file_meta.get("MediaStorageSOPInstanceUID")
    return SliceHeader(
        file=number,
        path=path,
        series=series_key(data.get("SeriesInstanceUID")),
        study=series_key(data.get("StudyInstanceUID")),
        modality=modality if modality in _MODALITIES else "another modality",
        kind=kind,
        derived=(image_type[:1] == ["DERIVED"]) * (1 + (image_type[1:2] == ["SECONDARY"])),
        position=_numbers(data, "ImagePositionPatient", 3),
        orientation=_numbers(data, "ImageOrientationPatient", 6),
        pixel_spacing=_numbers(data, "PixelSpacing", 2),
        size=(int(_number(data, "Columns", 0)), int(_number(data, "Rows", 0))),
        samples=int(_number(data, "SamplesPerPixel", 1)),
        bits=int(_number(data, "BitsAllocated", 16)),
        slope=_number(data, "RescaleSlope", None),
        intercept=_number(data, "RescaleIntercept", None),
        units=str(data.get("RescaleType") or "").upper(),
        photometric=str(data.get("PhotometricInterpretation") or "MONOCHROME2").upper(),
        has_table=bool(data.get("ModalityLUTSequence")),  # an empty sequence is none
        other_part=str(data.get("BodyPartExamined") or "").upper() in _OTHER_PARTS,
        phase=phase_of(*(str(data.get(name) or "") for name in ("SeriesDescription", "ProtocolName"))),
        instance=series_key(instance, _INSTANCE_DIGITS) if instance else "",
        patient=series_key(patient) if (patient := str(data.get("PatientID") or "").strip()) else "",
        frame=series_key(frame) if (frame := data.get("FrameOfReferenceUID")) else "",
        data=data if whole and kind == CT else None,
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


def _number(data: Any, name: str, default: Any) -> Any:
    value = data.get(name)
    return default if value is None or value == "" else float(value)
