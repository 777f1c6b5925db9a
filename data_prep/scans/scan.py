"""One scan to read: a file, a folder of DICOM files, or one series of a study, wherever its files lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_prep.dicom.archives import unpacked
from data_prep.dicom.headers import FolderScan, SliceHeader, scan_files, scan_folder
from data_prep.dicom.reader import DicomSeries, open_series, series_in
from data_prep.dicom.series import problem_of_references
from data_prep.dicom.studies import is_packed, study_key, without_copies
from data_prep.errors import InputError
from data_prep.files.checksums import checked_sha256
from data_prep.geometry.volume import Volume
from data_prep.volume import read_volume


@dataclass(frozen=True)
class Scan:
    """One scan to predict. name: of its case and its output files; image, series: as for `read_volume`.

    files: of one series of a study, its DICOM files and zip files; empty for all of `image`. study: `Study.key` of
    these. found: the series whose headers are read; None for zip files. notes: of how that was chosen, which are not in
    `found`. problem: why it cannot be read.
    """

    name: str
    image: Path
    series: str | None = None
    files: tuple[Path, ...] = ()
    study: str = ""
    found: DicomSeries | None = field(default=None, repr=False, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    problem: InputError | None = field(default=None, compare=False)

    def alone(self) -> Scan:
        """Return the scan known by all of its folder, as what is predicted by itself always was; a zip file's as it is.

        In a batch it is known by the files of its series, so that what comes beside it later changes nothing.
        """
        return self if self.found is None else replace(self, files=())

    def sha256(self) -> str:
        """Return the SHA-256 of its file, or of the content of its folder or its files; InputError if unreadable."""
        if self.problem is not None:
            raise self.problem
        if not self.files:
            return checked_sha256(self.image)
        hashes = sorted(map(checked_sha256, self.files))
        return hashlib.sha256("".join(f"{line}\n" for line in hashes).encode()).hexdigest()


def read_scan(scan: Scan, for_seg: bool = False, keep_headers: bool = False) -> Volume:
    """Return the voxels of a scan. InputError as for `read_volume`.

    for_seg: with what a DICOM SEG needs; InputError, before a voxel is read, if none can refer to the scan, and a note
    of the values that it cannot hold. keep_headers: with the whole headers, which `write_dicom_seg` else reads again.
    """
    if scan.problem is not None:
        raise scan.problem
    emptied: list[str] = []
    with _opened(scan, for_seg or keep_headers) as series:
        if series is None:
            return read_volume(scan.image, scan.series)
        if for_seg:
            from data_prep.dicom.seg_writer import check_series

            emptied = check_series(series)
        volume = read_volume(series)
    notes = [*scan.notes, *volume.notes]
    if emptied:
        notes.append(f"a DICOM SEG cannot hold the series' {', '.join(emptied)}: left empty there")
    return replace(volume, notes=tuple(dict.fromkeys(notes)))


def seg_notes(volume: Volume) -> tuple[str, ...]:
    """Return one note if the volume is from DICOM files whose headers make no DICOM SEG, by what of them is known."""
    if not isinstance(volume.dicom, DicomSeries) or not (why := problem_of_references(volume.dicom.slices)):
        return ()
    return (f"its labels cannot be saved as a DICOM SEG: {why}",)


@contextmanager
def _opened(scan: Scan, for_seg: bool) -> Iterator[DicomSeries | None]:
    """Yield the series of a scan, with whole headers for a SEG, while its files are readable; None for another file."""
    found = scan.found
    if found is not None and not (for_seg and any(header.data is None for header in found.slices)):
        yield found
    elif found is not None:
        yield _again(found)
    elif scan.study:
        with ExitStack() as stack:
            yield _unpacked(scan, for_seg, stack)
    elif for_seg:
        if not scan.image.is_dir():
            raise InputError("is no DICOM series, which a DICOM SEG must refer to; omit --dicom-seg", path=scan.image)
        yield open_series(scan.image, scan.series, for_seg=True)
    else:
        yield None


def _again(series: DicomSeries) -> DicomSeries:
    read = scan_files([one.path for one in series.slices], series.folder, whole=True)
    whole = {image.path: image for image in read.images}
    try:
        return replace(series, slices=tuple(whole[one.path] for one in series.slices))
    except KeyError:
        raise InputError("its files were changed meanwhile; run this again", series.folder, "damaged") from None


def _unpacked(scan: Scan, for_seg: bool, stack: ExitStack) -> DicomSeries:
    images: list[SliceHeader] = []
    unread: list[tuple[int, str]] = []

    def add(found: FolderScan, archive: Path | None) -> None:
        images.extend(one for one in found.images if study_key(one, archive or one.path.parent) == scan.study)
        unread.extend(found.unread)

    add(scan_files([path for path in scan.files if not is_packed(path)], scan.image, whole=for_seg), None)
    for archive in filter(is_packed, scan.files):
        add(scan_folder(stack.enter_context(unpacked(archive)), whole=for_seg), archive)
    kept = without_copies(images, unpacked_ones=True)
    return series_in(FolderScan(scan.image, tuple(kept), tuple(unread), len(kept), 0), scan.series)
