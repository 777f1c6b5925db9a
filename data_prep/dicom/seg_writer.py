"""Labels written as a DICOM Segmentation (SEG) that refers to the CT slices they were made from."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.dicom.reader import DicomSeries
from data_prep.errors import InputError, require
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
_FIRST_SERIES_NUMBER = 1000  # added to the source's number, so that the series follows all of the scanner's own


def write_dicom_seg(
    labels_zyx: np.ndarray, volume: Volume, path: str | Path, *, algorithm_name: str, algorithm_version: str
) -> None:
    """Write labels uint8 [z, y, x] (axial order) of a CT series as one DICOM SEG, whole or not at all.

    Segments are binary: 1 Kidney, 2 Tumor, and 3 Cyst if there is one. Frames without a voxel are left out (an empty
    map has all frames, because a SEG needs one). Each frame refers to its CT slice, and the file lists all slices of
    the series, in the grid's order.

    The file repeats patient and study of the series, as the standard requires: it belongs in the patient's own study
    and must be de-identified like the series. Its text is UTF-8. Values that a SEG cannot hold (`values_to_empty`) are
    left empty. If an anonymizer emptied the UID of study or series, the SEG gets one
    derived from the slices' own UIDs, the same each time.

    volume: of the series, from `read_volume`. Unless the series was opened with `for_seg`, headers are read again.
    ValueError for another shape than the volume's; InputError if the volume is not from DICOM, or its headers lack what
    a SEG needs.
    """
    series = volume.dicom
    if not isinstance(series, DicomSeries):
        raise InputError("not a DICOM series, and a DICOM SEG can refer to nothing else", volume.path)
    labels = np.ascontiguousarray(series.grid.to_stored(np.asarray(labels_zyx, np.uint8)))
    with silent():
        try:
            slices = _source_slices(series)
            segmentation = _segmentation(labels, slices, series.grid, algorithm_name, algorithm_version)
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # their texts may quote the headers
            why = f"the headers of the series cannot be copied to a DICOM SEG ({type(error).__name__})"
            remedy = "expected whole CT headers of one study; write the labels as .nii.gz"
            raise InputError(f"{why}; {remedy}", series.folder) from None
        made = io.BytesIO()
        segmentation.save_as(made)
    write_file(path, made.getvalue())


def values_to_empty(series: DicomSeries) -> list[str]:
    """Return the names of the attributes of patient and study whose values a SEG cannot hold, such as a sex `U`."""
    with silent():
        return [name for name in _VALID if not all(_is_valid(name, data) for data in _headers(series))]


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


def _headers(series: DicomSeries) -> list[Dataset]:
    import pydicom

    return [image.data or pydicom.dcmread(image.path, stop_before_pixels=True, force=True) for image in series.slices]


def _source_slices(series: DicomSeries) -> list[Dataset]:
    """Return the headers of a series' slices in the order of its grid, with all that a SEG refers to."""
    import pydicom

    slices = _headers(series)
    for data in slices:
        for name in _VALID:
            if not _is_valid(name, data):
                setattr(data, name, None)
        if data.get("SpecificCharacterSet"):  # highdicom knows no set that begins with an empty value
            if data.get("PatientName"):
                data.PatientName = str(data.PatientName)
            data.SpecificCharacterSet = "ISO_IR 192"
    for data in slices:  # anonymizers may empty the data set's own, but not the file's
        data.SOPInstanceUID = data.get("SOPInstanceUID") or data.file_meta.get("MediaStorageSOPInstanceUID")
        data.SOPClassUID = data.get("SOPClassUID") or pydicom.uid.CTImageStorage
    for name in ("SOPInstanceUID", "FrameOfReferenceUID"):
        if lacking := sum(not data.get(name) for data in slices):
            why = f"{lacking} of {len(slices)} slices have no {name}, which a DICOM SEG must refer to"
            raise InputError(f"{why}; export the series again, or write the labels as .nii.gz", series.folder)
    if len({data.SOPInstanceUID for data in slices}) < len(slices):
        why = "several slices have the same SOPInstanceUID, so a DICOM SEG cannot tell them apart"
        raise InputError(f"{why}; export the series again, or write the labels as .nii.gz", series.folder)
    for data in slices:
        for name, source in (("SeriesInstanceUID", "SOPInstanceUID"), ("StudyInstanceUID", "FrameOfReferenceUID")):
            if not data.get(name):
                setattr(data, name, pydicom.uid.generate_uid(entropy_srcs=[name, str(slices[0].get(source))]))
        for name in _MAY_BE_EMPTY:
            if name not in data:
                setattr(data, name, None)
        data.SliceThickness = data.get("SliceThickness") or series.grid.spacing[2]
    return slices


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
