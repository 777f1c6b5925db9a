"""Labels written as a DICOM Segmentation (SEG) that refers to the CT slices they were made from."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.dicom.headers import SliceHeader
from data_prep.dicom.reader import DicomSeries
from data_prep.dicom.series import problem_of_references
from data_prep.errors import InputError, raise_if_out_of_memory, require
from data_prep.files.atomic import write_file
from data_prep.files.quiet import silent
from data_prep.geometry.source_grid import SourceGrid
from data_prep.geometry.volume import Volume
from data_prep.labels import KIDNEY, KIDNEY_REGION, structures_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MAY_BE_EMPTY = (  # the standard requires them in every file, with or without a value; anonymizers remove them
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"
)  # fmt: skip
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
_REMEDY = "export the series again, or write the labels as .nii.gz alone (without --dicom-seg)"
_FIRST_SERIES_NUMBER = 1000  # added to the source's number, so that the series follows all of the scanner's own


def write_dicom_seg(
    labels_zyx: np.ndarray, volume: Volume, path: str | Path, *, algorithm_name: str, algorithm_version: str
) -> None:
    """Write labels uint8 [z, y, x] (axial order) of a CT series as one DICOM SEG, whole or not at all.

    Segments are binary: 1 Kidney, 2 Tumor, and 3 Cyst if there is one. Frames without a voxel are left out (an empty
    map has all frames, because a SEG needs one). Each frame refers to its CT slice, and the file lists all slices of
    the series, in the grid's order.

    The file repeats patient and study of the series, as the standard requires: it belongs in the patient's own study
    and must be de-identified like the series. Its text is UTF-8. Values that a SEG cannot hold (`check_series`)
    are left empty. If an anonymizer emptied the UID of study or series, the SEG gets one derived from the slices' own
    UIDs, the same each time.

    volume: of the series, from `read_volume`. Unless the series was opened with `for_seg`, headers are read again.
    ValueError for another shape than the volume's; InputError if the volume is not from DICOM, or its headers lack what
    a SEG needs.
    """
    series = volume.dicom
    if not isinstance(series, DicomSeries):
        raise InputError("not a DICOM series, and a DICOM SEG can refer to nothing else", volume.path)
    labels = np.ascontiguousarray(series.grid.to_stored(np.asarray(labels_zyx, np.uint8)))
    write_file(path, _made(labels, series, algorithm_name, algorithm_version)[0])


def check_series(series: DicomSeries) -> list[str]:
    """Make a SEG of one voxel and drop it, before the work on labels; return what is left empty in it.

    These are names of attributes of patient and study whose values a SEG cannot hold, such as a sex `U`. InputError as
    for `write_dicom_seg`, which then raises none. Of a series that was not opened with `for_seg`, headers are read
    again.
    """
    labels = np.zeros(series.grid.size[::-1], np.uint8)
    labels[0, 0, 0] = KIDNEY
    return _made(labels, series, "trial", "0")[1]


def _made(labels: np.ndarray, series: DicomSeries, name: str, version: str) -> tuple[bytes, list[str]]:
    """Return the file's bytes and what is left empty in it, see `check_series`.

    labels: uint8 in the order of the series' grid. InputError as for `write_dicom_seg`.
    """
    if why := problem_of_references(series.slices):
        raise InputError(f"{why}; {_REMEDY}", series.folder)

    def made() -> bytes:
        file = io.BytesIO()
        _segmentation(labels, slices, series.grid, name, version).save_as(file)
        return file.getvalue()

    with silent():
        try:
            slices, emptied = _source_slices(series)
            try:
                return made(), emptied
            except (MemoryError, InputError):
                raise
            except Exception:
                if not (others := _without_unwritable(slices[0])):
                    raise
                return made(), emptied + others
        except InputError:
            raise
        except Exception as error:  # of many types; their texts may quote the headers
            raise_if_out_of_memory(error, series.folder)
            why = f"the headers of the series cannot be copied to a DICOM SEG ({type(error).__name__})"
            raise InputError(f"{why}; {_REMEDY}", series.folder) from None


def _without_unwritable(data: Dataset) -> list[str]:
    """Remove the attributes of a header that cannot be read or written; return their names."""
    from pydicom.datadict import keyword_for_tag
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_data_element

    names = []
    for tag in list(data.keys()):
        file = DicomBytesIO()
        file.is_implicit_VR, file.is_little_endian = False, True
        try:
            write_data_element(file, data[tag], ["utf-8"])
        except Exception:  # pydicom raises many types
            names.append(keyword_for_tag(tag) or str(tag))
            del data[tag]
    for name in {*names} & {*_MAY_BE_EMPTY}:
        setattr(data, name, None)
    return sorted(names)


def _is_valid(name: str, data: Dataset) -> bool:
    try:
        value = data.get(name)
        return not value or bool(_VALID[name](value))
    except Exception:  # whatever pydicom makes of a malformed value
        return False


def _is_date(value: str) -> bool:
    from pydicom.valuerep import DA

    return DA(value) is not None


def _is_time(value: str) -> bool:
    from pydicom.valuerep import TM

    return TM(value) is not None


_VALID: dict[str, Callable[[Any], bool]] = {
    "PatientSex": lambda value: value in ("M", "F", "O"),
    "PatientBirthDate": _is_date,
    "StudyDate": _is_date,
    "StudyTime": _is_time,
    "SeriesNumber": lambda value: int(value) > -_FIRST_SERIES_NUMBER,
    "SliceThickness": lambda value: float(value) > 0,
}


def _header(image: SliceHeader) -> Dataset:
    """Return a copy of the whole header of a slice, to be changed."""
    import pydicom

    if image.data is None:
        return pydicom.dcmread(image.path, stop_before_pixels=True, force=True)
    data, made = image.data, pydicom.Dataset()  # `copy` would share the elements
    made.update(data)
    made.file_meta = data.file_meta
    implicit, little = data.original_encoding
    made.set_original_encoding(implicit, little, data.original_character_set)
    return made


def _source_slices(series: DicomSeries) -> tuple[list[Dataset], list[str]]:
    """Return the headers of a series' slices in the order of its grid, with all that a SEG refers to.

    And the names of attributes that were emptied, because a SEG cannot hold their values.
    """
    import pydicom

    slices = [_header(image) for image in series.slices]
    emptied = [name for name in _VALID if not all(_is_valid(name, data) for data in slices)]
    for data in slices:
        for name in emptied:
            setattr(data, name, None)
        for name in _UIDS:
            if not isinstance(data.get(name, ""), str):
                raise InputError(f"a slice has several values of {name}, which has one; {_REMEDY}", series.folder)
        if "SpecificCharacterSet" in data:  # highdicom knows no set that is empty or begins with an empty value
            if data.get("PatientName"):
                data.PatientName = str(data.PatientName)
            data.SpecificCharacterSet = "ISO_IR 192"
        # anonymizers may empty the data set's own, but not the file's
        data.SOPInstanceUID = data.get("SOPInstanceUID") or data.file_meta.get("MediaStorageSOPInstanceUID")
        data.SOPClassUID = data.get("SOPClassUID") or pydicom.uid.CTImageStorage
        for name, source in (("SeriesInstanceUID", "SOPInstanceUID"), ("StudyInstanceUID", "FrameOfReferenceUID")):
            if not data.get(name):
                setattr(data, name, pydicom.uid.generate_uid(entropy_srcs=[name, str(slices[0].get(source))]))
        for name in _MAY_BE_EMPTY:
            if name not in data:
                setattr(data, name, None)
        data.SliceThickness = data.get("SliceThickness") or series.grid.spacing[2]
    return slices, [name for name in emptied if name in _MAY_BE_EMPTY]


def _segmentation(labels: np.ndarray, slices: Sequence[Dataset], grid: SourceGrid, name: str, version: str) -> Any:
    from pydicom.sr.codedict import codes

    hd = require("highdicom", "dicom")

    algorithm = hd.AlgorithmIdentificationSequence(
        name=name, version=version, family=codes.cid7162.ArtificialIntelligence
    )
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=label,
            segment_label=row.name,
            segmented_property_category=_sct(row.category),
            segmented_property_type=_sct(row.kind),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            anatomic_regions=None if label == KIDNEY else [_sct(KIDNEY_REGION)],
            display_color=hd.color.CIELabColor.from_rgb(*row.rgb),
        )
        for label, row in structures_of(labels).items()
    ]
    first = slices[0]
    between_columns, between_rows, between_slices = grid.spacing
    return hd.seg.Segmentation(
        source_images=slices,
        pixel_array=labels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=hd.UID(),
        series_number=_FIRST_SERIES_NUMBER + int(first.get("SeriesNumber") or 0),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=name,
        manufacturer_model_name=name,
        software_versions=version,
        device_serial_number="0",  # software has none, and the attribute must not be empty
        content_label="KIDNEY_TUMOR",
        content_description="Kidneys and kidney tumors",
        series_description=f"Kidneys and kidney tumors, {name} {version}"[:64],
        pixel_measures=hd.PixelMeasuresSequence(
            pixel_spacing=(between_rows, between_columns),
            slice_thickness=first.SliceThickness,
            spacing_between_slices=between_slices,
        ),
        omit_empty_frames=bool(labels.any()),
    )


def _sct(term: tuple[str, str]) -> Any:
    from pydicom.sr.coding import Code

    value, meaning = term
    return Code(value, "SCT", meaning)
