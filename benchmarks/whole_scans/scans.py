"""Find whole scans, with labels or without: folders of cases, image files, DICOM folders, and zips of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.datasets.kits import find_cases
from data_prep.datasets.label_files import find_label_files
from data_prep.dicom import archives
from data_prep.dicom.archives import ZIP
from data_prep.dicom.headers import holds_dicom
from data_prep.errors import InputError
from data_prep.files.names import printable, safe_name
from data_prep.formats.image_source import FILE_ENDINGS, stem_of


@dataclass(frozen=True)
class WholeScan:
    """One scan. image: a file, a DICOM folder, or a zip of a DICOM folder; labels: None without any."""

    name: str
    image: Path
    labels: Path | None = None


def find_whole_scans(
    folder: str | Path, images: str | None = None, labels: str | None = None, truth: str | Path | None = None
) -> list[WholeScan]:
    """Return the scans of a folder, sorted by name.

    These are the cases that `data_prep.datasets.kits.find_cases` finds; else image files (`.nii.gz`, ...), zips and
    subfolders with DICOM files; else the folder itself, if it holds DICOM files. `folder` may also be one file.

    Args:
        folder: the folder.
        images, labels: patterns of the folder of cases, as for `find_cases`.
        truth: label maps by the scans' names, as for `find_label_files`, for scans that have none beside them.

    Raises:
        InputError: there is no scan, two scans have one name, or a name cannot name a file.
    """
    folder = Path(folder)
    scans = sorted(_cases(folder, images, labels) or _others(folder), key=lambda scan: scan.name)
    if not scans:
        wanted = "folders of cases with imaging.nii.gz, image files, or DICOM folders or zips"
        raise InputError(f"found no scan; expected {wanted}", path=folder)
    if truth is not None:
        maps = find_label_files(truth)
        scans = [replace(scan, labels=scan.labels or maps.get(scan.name)) for scan in scans]
    (name, count), *_ = Counter(scan.name for scan in scans).most_common(1)
    if count > 1:
        raise InputError(f"{count} scans have the name {printable(name)}; rename all but one", path=folder)
    for scan in scans:
        if not safe_name(scan.name):
            raise InputError(f"cannot name a picture {printable(scan.name)}; rename the scan", path=folder)
    return scans


def _cases(folder: Path, images: str | None, labels: str | None) -> list[WholeScan]:
    if not folder.is_dir():
        return []
    try:
        cases, _ = find_cases(folder, images, labels)
    except InputError:
        if images is not None or labels is not None:
            raise
        return []
    return [WholeScan(case.name, case.image, case.labels) for case in cases]


def _others(folder: Path) -> list[WholeScan]:
    if not folder.exists():
        raise InputError("no such file or folder", path=folder, code="no_such_file")
    paths = [folder] if folder.is_file() else [path for path in sorted(folder.iterdir()) if path.name[0] != "."]
    files = [path for path in paths if path.is_file() and path.name.endswith((*FILE_ENDINGS, ZIP))]
    folders = [path for path in paths if path.is_dir() and holds_dicom(path)]
    if folder.is_dir() and not files and any(path.is_file() for path in paths) and holds_dicom(folder):
        files, folders = [], [folder.resolve()]  # one scan; what lies below belongs to it
    return [WholeScan(path.stem if path.suffix == ZIP else stem_of(path), path) for path in (*files, *folders)]


@contextmanager
def unpacked(image: Path) -> Iterator[Path]:
    """Yield what `read_volume` reads: the image itself, or a temporary folder with the content of a zip.

    InputError if the zip is damaged or encrypted; one that is raised inside names the zip.
    """
    if image.suffix != ZIP or image.is_dir():
        yield image
        return
    with archives.unpacked(image) as folder:
        try:
            yield folder
        except InputError as error:
            raise InputError(error.detail, path=image, code=error.code) from None
