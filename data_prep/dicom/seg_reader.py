"""DICOM Segmentations (SEG), read as label maps on the grid of their CT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.dicom.headers import scan_folder, series_key, silent
from data_prep.dicom.series import choose_series
from data_prep.dicom.stacking import SAME, stack
from data_prep.errors import InputError
from data_prep.formats.gzip_stream import AGAIN
from data_prep.formats.image_source import check_size, opened
from data_prep.geometry.source_grid import GRID_TOLERANCE, SourceGrid, check_grid
from data_prep.geometry.volume import Volume
from data_prep.labels import CYST, KIDNEY, TUMOR

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
_WORDS = {CYST: ("cyst",), TUMOR: ("tumor", "tumour", "neoplasm", "mass"), KIDNEY: ("kidney", "renal")}
_CODES = {  # SNOMED CT codes of the segmented property type
    "64033007": KIDNEY,  # kidney
    "108369006": TUMOR,  # neoplasm
    "86049000": TUMOR,  # primary malignant neoplasm
    "372087000": TUMOR,  # primary neoplasm
    "4147007": TUMOR,  # mass
    "367643001": CYST,  # cyst
}
_PAINTED = (KIDNEY, CYST, TUMOR)  # where segments overlap, for example a kidney's and its tumor's, the last one counts


@dataclass(frozen=True)
class _Frame:
    """One frame of a SEG: its label, where its first pixel lies (LPS, mm), and the slice it refers to, if any."""

    index: int
    label: int
    position: tuple[float, ...]
    source: str


def read_dicom_seg(path: str | Path, folder: str | Path | None = None) -> Volume:
    """Read a DICOM SEG as `read_labels` reads a label file: uint8 in axial order, 1 kidney, 2 tumor, 3 cyst.

    folder: of the CT series that the SEG refers to; the labels are on its grid then. Without it the grid is that of the
    slices which the SEG lists, if they are in the order of their positions (as `write_dicom_seg` lists them), else
    that of the frames from the first to the last, with a note. Slices without a frame are background.

    Segments are told by their SNOMED codes, or by their names. InputError for anything but a whole binary SEG with
    evenly spaced parallel frames of kidneys, tumors and cysts, and for a folder that does not hold its series.
    """
    path = Path(path)
    data = _open(path)
    with silent():
        try:
            labels = _labels_of_segments(data, path)
            frames, orientation, pixel_mm, spacing = _frames(data, labels)
            listed = _listed(data)
            series = (
                str(data.ReferencedSeriesSequence[0].SeriesInstanceUID) if "ReferencedSeriesSequence" in data else ""
            )
            size = (int(data.Columns), int(data.Rows))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: the DICOM Segmentation lacks what tells where its frames lie ({type(error).__name__}); "
                "expected a whole one; export it anew"
            ) from None
    notes: tuple[str, ...] = ()
    if folder is not None:
        grid = _series_grid(Path(folder), series)
    else:
        grid, notes = _own_grid(path, frames, listed, orientation, pixel_mm, spacing, size)
    check_size(path, grid.size, 1)
    check_grid(grid, path)
    axes = np.reshape(grid.direction, (3, 3)).T
    fits = grid.size[:2] == size and np.allclose(grid.spacing[1::-1], pixel_mm, atol=SAME)
    if not fits or not np.allclose(axes[:2].ravel(), orientation, atol=SAME):
        raise InputError(
            f"{path}: its frames do not lie as the slices of {folder} do; expected the CT it was made from"
        )
    places = _places(path, frames, grid)
    stored = np.zeros(grid.size[::-1], np.uint8)
    pixels = _pixels(path, data, len(frames), size)
    for label in _PAINTED:
        for frame, place in zip(frames, places, strict=True):
            if frame.label == label:
                stored[place][pixels[frame.index] > 0] = label
    return Volume(np.ascontiguousarray(grid.to_axial(stored)), grid.axial_spacing_mm, grid, path, notes)


def _open(path: Path) -> Dataset:
    import pydicom

    with opened(path) as file:
        start = file.read(132)
    if start[128:] != b"DICM":
        raise InputError(f"{path}: is no DICOM file; expected a DICOM Segmentation; {AGAIN}")
    try:
        with silent():
            data = pydicom.dcmread(path)
            sop_class = data.get("SOPClassUID")
            kind = data.get("SegmentationType")
    except Exception:  # pydicom's errors are of many types; they may quote the header
        raise InputError(f"{path}: the DICOM file is truncated or damaged; {AGAIN}") from None
    if sop_class != _SEG_CLASS:
        raise InputError(
            f"{path}: is a DICOM file of another kind; expected a DICOM Segmentation as labels, or the folder with all "
            "slices as image"
        )
    if kind != "BINARY":
        raise InputError(f"{path}: is a fractional segmentation; expected a binary one; export it as such")
    return data


def _labels_of_segments(data: Dataset, path: Path) -> dict[int, int]:
    found = {}
    for segment in data.SegmentSequence:
        label = _CODES.get(str(segment.SegmentedPropertyTypeCodeSequence[0].CodeValue))
        if label is None:
            name = str(segment.get("SegmentLabel") or "").lower()
            label = next((label for label, words in _WORDS.items() if any(w in name for w in words)), None)
        if label is None:
            raise InputError(
                f"{path}: segment {segment.SegmentNumber} is none of kidney, tumor and cyst by its code and name; "
                "expected these alone; leave the others out"
            )
        found[int(segment.SegmentNumber)] = label
    return found


def _frames(
    data: Dataset, labels: dict[int, int]
) -> tuple[list[_Frame], tuple[float, ...], tuple[float, ...], float | None]:
    """Return the frames, and of all of them: orientation, pixel spacing, and slice spacing, None where not told."""
    shared = data.SharedFunctionalGroupsSequence[0]

    def of(frame: Dataset, name: str) -> Any:
        return (frame.get(name) or shared[name].value)[0]

    frames = []
    orientations, measures = set(), set()
    for index, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        number = int(of(frame, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        position = tuple(float(mm) for mm in of(frame, "PlanePositionSequence").ImagePositionPatient)
        source = frame.get("DerivationImageSequence")
        source = source[0].get("SourceImageSequence") if source else None
        frames.append(
            _Frame(index, labels[number], position, str(source[0].ReferencedSOPInstanceUID) if source else "")
        )
        orientations.add(tuple(float(v) for v in of(frame, "PlaneOrientationSequence").ImageOrientationPatient))
        measure = of(frame, "PixelMeasuresSequence")
        spacing = measure.get("SpacingBetweenSlices")
        between_rows, between_columns = (float(mm) for mm in measure.PixelSpacing)
        measures.add((between_rows, between_columns, float(spacing) if spacing else None))
    if len(orientations) != 1 or len(measures) != 1:
        raise ValueError
    between_rows, between_columns, spacing = measures.pop()
    return frames, orientations.pop(), (between_rows, between_columns), spacing


def _listed(data: Dataset) -> list[str]:
    if "ReferencedSeriesSequence" not in data:
        return []
    return [str(item.ReferencedSOPInstanceUID) for item in data.ReferencedSeriesSequence[0].ReferencedInstanceSequence]


def _series_grid(folder: Path, uid: str) -> SourceGrid:
    scan = scan_folder(folder)
    known = series_key(uid) in {image.series for image in scan.images}
    chosen, _ = choose_series(scan, series_key(uid) if known else None)
    return stack(chosen.images, f"series {chosen.number} ({chosen.key})", folder)[1]


def _own_grid(
    path: Path,
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
            raise InputError(f"{path}: has one slice and does not tell the spacing; give the folder of the CT series")
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
        notes = ("the DICOM Segmentation does not tell the whole grid: labels cover its own slices alone",)
    origin = positions[lowest] + (first - along[lowest]) * normal
    direction = np.column_stack([row, column, normal])
    grid = SourceGrid(
        (*size, count), (pixel_mm[1], pixel_mm[0], spacing), tuple(origin.tolist()), tuple(direction.ravel().tolist())
    )
    return grid, notes


def _places(path: Path, frames: list[_Frame], grid: SourceGrid) -> list[int]:
    """Return the number of the slice of the grid that each frame is."""
    direction = np.reshape(grid.direction, (3, 3))
    index = (np.array([frame.position for frame in frames]) - grid.origin) @ direction / grid.spacing  # x, y, z
    places = np.rint(index[:, 2])
    off = np.abs(index - np.column_stack([np.zeros((len(frames), 2)), places])).max(axis=1)
    bad = np.flatnonzero((off > 2 * GRID_TOLERANCE) | (places < 0) | (places >= grid.size[2]))
    if bad.size:
        raise InputError(
            f"{path}: {bad.size} of {len(frames)} frames lie on no slice of an even grid (the first is frame "
            f"{bad[0] + 1}); expected the frames of one CT series"
        )
    return places.astype(int).tolist()


def _pixels(path: Path, data: Dataset, frames: int, size: tuple[int, int]) -> np.ndarray:
    """Return the frames, uint8 [frames, rows, columns]."""
    shape = (frames, size[1], size[0])
    check_size(path, shape, 1)
    try:
        with silent():
            return data.pixel_array.reshape(shape)
    except Exception:  # of many types, as above
        raise InputError(f"{path}: the frames cannot be read; the file is truncated or damaged; {AGAIN}") from None
