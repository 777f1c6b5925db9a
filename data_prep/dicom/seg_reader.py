"""DICOM Segmentations (SEG), read as label maps on the grid of their CT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.dicom.choice import choose_series
from data_prep.dicom.headers import scan_folder, series_key
from data_prep.dicom.seg_pixels import numbers_to_labels, read_data_set, read_frames, undescribed
from data_prep.dicom.stacking import SAME, stack
from data_prep.errors import InputError, raise_if_out_of_memory
from data_prep.files.quiet import silent
from data_prep.formats.gzip_stream import AGAIN
from data_prep.formats.image_source import check_size, opened
from data_prep.geometry.source_grid import GRID_TOLERANCE, SourceGrid, check_grid
from data_prep.geometry.volume import Volume
from data_prep.labels import CYST, KIDNEY, TUMOR, Segment, label_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # the second: label maps
_LABEL_MAP, _BINARY = "LABELMAP", "BINARY"
_PAINTED = (KIDNEY, CYST, TUMOR)  # where segments overlap, for example a kidney's and its tumor's, the last one counts


@dataclass(frozen=True)
class _Frame:
    """One frame of a SEG."""

    index: int
    label: int | None  # None: of a label map, whose pixels are numbers of segments
    position: tuple[float, ...]  # of its first pixel, LPS, mm
    source: str  # UID of the slice it refers to; empty if there is none


def read_dicom_seg(path: str | Path, folder: str | Path | None = None) -> Volume:
    """Read a DICOM SEG (binary or label map) as uint8 labels in axial order: 0 background, 1 kidney, 2 tumor, 3 cyst.

    Segments are identified by their SNOMED codes and names, see `label_of`. Slices without a frame are background.

    folder: of the CT series that the SEG refers to; the labels are on its grid. None: on the grid of the slices that
    the SEG lists, if they are in the order of their positions (as `write_dicom_seg` lists them); otherwise on that of
    the frames from the first to the last, with a note. InputError for anything but a whole SEG with evenly spaced
    parallel frames of kidneys, tumors and cysts, and for a folder without its series.
    """
    path = Path(path)
    try:
        return _read(path, None if folder is None else Path(folder))
    except InputError as error:
        raise InputError(error.detail, error.path or path, error.code) from None


def _read(path: Path, folder: Path | None) -> Volume:
    data = _open(path)
    with silent():
        part = "the description of its segments"
        try:
            labels = _labels_of_segments(data)
            part = "the position of its frames"
            frames, orientation, pixel_mm, spacing = _frames(data, labels)
            part = "the slices that it refers to, or its size"
            (series, listed), size = _referenced(data), (int(data.Columns), int(data.Rows))
        except InputError:
            raise
        except Exception as error:  # pydicom raises many types
            raise_if_out_of_memory(error, path)
            problem = f"the DICOM Segmentation lacks {part} ({type(error).__name__})"
            raise InputError(f"{problem}; expected a whole one; export it again") from None
    if folder is None:
        grid, notes = _own_grid(frames, listed, orientation, pixel_mm, spacing, size)
    else:
        grid, notes = _series_grid(folder, series), ()
    check_size(path, grid.size, 1)
    check_grid(grid, path)
    fits = grid.size[:2] == size and np.allclose(grid.spacing[1::-1], pixel_mm, atol=SAME)
    if not fits or not np.allclose(np.reshape(grid.direction, (3, 3)).T[:2].ravel(), orientation, atol=SAME):
        raise InputError(f"its frames are not placed like the slices of {folder}; expected the CT it was made from")
    places = _places(frames, grid)
    stored = np.zeros(grid.size[::-1], np.uint8)
    pixels = read_frames(path, data, (len(frames), *size[::-1]))
    for frame, place in zip(frames, places, strict=True):
        if frame.label is None:
            stored[place] = numbers_to_labels(pixels[frame.index], labels)
    for label in _PAINTED:
        for frame, place in zip(frames, places, strict=True):
            if frame.label == label:
                stored[place][pixels[frame.index] > 0] = label
    return Volume(np.ascontiguousarray(grid.to_axial(stored)), grid.axial_spacing_mm, grid, path, notes)


def _open(path: Path) -> Dataset:
    with opened(path) as file:
        start = file.read(132)
    if start[128:] != b"DICM":
        raise InputError(f"not a DICOM file; expected a DICOM Segmentation; {AGAIN}", code="not_an_image")
    try:
        with silent():
            data = read_data_set(path)
            sop_class, kind = data.get("SOPClassUID"), data.get("SegmentationType")
    except InputError:
        raise
    except Exception as error:  # pydicom raises many types, which may quote the header
        raise_if_out_of_memory(error, path)
        raise InputError(f"the DICOM file is truncated or damaged; {AGAIN}", code="truncated") from None
    if sop_class not in _SEG_CLASSES:
        expected = "expected a DICOM Segmentation as labels, or the folder with all slices as image"
        raise InputError(f"is a DICOM file of another kind; {expected}")
    if kind not in (_BINARY, _LABEL_MAP):
        found = "is a fractional segmentation" if kind == "FRACTIONAL" else "has no SegmentationType that is known"
        raise InputError(f"{found}; expected a binary one or a label map; export it as such")
    return data


def _labels_of_segments(data: Dataset) -> dict[int, int]:
    found = {}
    for item in data.SegmentSequence:
        kind, region = item.SegmentedPropertyTypeCodeSequence[0], item.get("AnatomicRegionSequence")
        segment = Segment(
            int(item.SegmentNumber),
            str(item.get("SegmentLabel") or ""),
            str(kind.CodeValue),
            str(kind.get("CodeMeaning") or ""),
            str(region[0].CodeValue) if region else "",
        )
        if not segment.number:  # the background of a label map
            continue
        label = label_of(segment)
        if label is None:
            problem = f"segment {segment.number} is none of kidney, tumor and cyst by its code and name"
            raise InputError(f"{problem}; expected only these; remove the others, or name it by what it is")
        found[segment.number] = label
    return found


def _frames(
    data: Dataset, labels: dict[int, int]
) -> tuple[list[_Frame], tuple[float, ...], tuple[float, ...], float | None]:
    """Return the frames and their common orientation, pixel spacing, and slice spacing, None if it is not stored."""
    shared = data.SharedFunctionalGroupsSequence[0]

    def of(frame: Dataset, name: str) -> Any:
        return (frame.get(name) or shared[name].value)[0]

    frames = []
    orientations, measures = set(), set()
    for index, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        numbered = data.SegmentationType == _BINARY
        number = int(of(frame, "SegmentIdentificationSequence").ReferencedSegmentNumber) if numbered else None
        position = tuple(float(mm) for mm in of(frame, "PlanePositionSequence").ImagePositionPatient)
        derived = frame.get("DerivationImageSequence")
        source = derived[0].get("SourceImageSequence") if derived else None
        uid = str(source[0].ReferencedSOPInstanceUID) if source else ""
        if number is not None and number not in labels:
            raise undescribed(number)
        frames.append(_Frame(index, None if number is None else labels[number], position, uid))
        orientations.add(tuple(float(v) for v in of(frame, "PlaneOrientationSequence").ImageOrientationPatient))
        measure = of(frame, "PixelMeasuresSequence")
        spacing = measure.get("SpacingBetweenSlices")
        measures.add((tuple(float(mm) for mm in measure.PixelSpacing), float(spacing) if spacing else None))
    if len(measures) > 1 or len(orientations) > 1:
        raise InputError("its frames have several orientations or spacings; expected those of one CT series")
    ((pixel_mm, spacing),), (orientation,) = measures, orientations  # ValueError for none
    return frames, orientation, pixel_mm, spacing


def _referenced(data: Dataset) -> tuple[str, list[str]]:
    """Return the UIDs of the CT series and of its slices, as the SEG lists them."""
    if "ReferencedSeriesSequence" not in data:
        return "", []
    series = data.ReferencedSeriesSequence[0]
    return str(series.SeriesInstanceUID), [str(i.ReferencedSOPInstanceUID) for i in series.ReferencedInstanceSequence]


def _series_grid(folder: Path, uid: str) -> SourceGrid:
    scan = scan_folder(folder)
    known = series_key(uid) in {image.series for image in scan.images}
    chosen, _ = choose_series(scan, series_key(uid) if known else None)
    return stack(chosen.images, f"series {chosen.number} ({chosen.key})", folder)[1]


def _own_grid(
    frames: list[_Frame],
    listed: list[str],
    orientation: tuple[float, ...],
    pixel_mm: tuple[float, ...],
    spacing: float | None,
    size: tuple[int, int],
) -> tuple[SourceGrid, tuple[str, ...]]:
    row, column = np.reshape(orientation, (2, 3))
    normal = np.cross(row, column)
    positions = np.array([frame.position for frame in frames])
    along = positions @ normal
    steps = np.diff(np.sort(along))
    if spacing is None:
        if not (steps > SAME).any():
            raise InputError("has one slice and no spacing; give the folder of the CT series")
        spacing = float(steps[steps > SAME].min())
    notes: tuple[str, ...] = ()
    lowest = int(np.argmin(along))
    first, count = float(along[lowest]), round((float(along.max()) - float(along[lowest])) / spacing) + 1
    order = {source: number for number, source in enumerate(listed)}
    numbers = np.array([order.get(frame.source, np.nan) for frame in frames])
    for number in (numbers, len(listed) - 1 - numbers):  # listed upward or downward
        starts = along - number * spacing
        if np.ptp(starts) <= 2 * GRID_TOLERANCE * spacing:  # false for NaN
            first, count = float(starts[lowest]), len(listed)
            break
    else:
        notes = ("the DICOM Segmentation does not describe the whole grid: labels cover only its own slices",)
    origin = tuple((positions[lowest] + (first - along[lowest]) * normal).tolist())
    direction = tuple(np.column_stack([row, column, normal]).ravel().tolist())
    return SourceGrid((*size, count), (pixel_mm[1], pixel_mm[0], spacing), origin, direction), notes


def _places(frames: list[_Frame], grid: SourceGrid) -> list[int]:
    """Return the index of each frame's slice in the grid."""
    direction = np.reshape(grid.direction, (3, 3))
    index = (np.array([frame.position for frame in frames]) - grid.origin) @ direction / grid.spacing  # x, y, z
    places = np.rint(index[:, 2])
    off = np.abs(index - np.column_stack([np.zeros((len(frames), 2)), places])).max(axis=1)
    bad = np.flatnonzero((off > 2 * GRID_TOLERANCE) | (places < 0) | (places >= grid.size[2]))
    if bad.size:
        first = f"the first is frame {bad[0] + 1}"
        problem = f"{bad.size} of {len(frames)} frames are not on a slice of an even grid ({first})"
        raise InputError(f"{problem}; expected the frames of one CT series")
    return places.astype(int).tolist()
