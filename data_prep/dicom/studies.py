"""The studies among many DICOM files: each is one examination of one patient, wherever its files lie."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_prep.cli import progress
from data_prep.dicom.archives import ZIP, unpacked
from data_prep.dicom.headers import FolderScan, SliceHeader, scan_files, scan_folder, series_key
from data_prep.errors import InputError
from data_prep.files.quiet import silent
from data_prep.files.regular_files import regular_files

_MANY = 2000  # files that are read with a progress bar
_MOST_WHOLE = 3000  # files whose whole headers are kept, of some 20 kB
_LAST_TAG = 0x00120062  # PatientIdentityRemoved
_NONE = series_key("")  # of a UID that is absent
DOCUMENTS = ("KO", "PR", "REG", "RTDOSE", "RTPLAN", "RTSTRUCT", "SEG", "SR")  # of modalities: no image to be read


@dataclass(frozen=True)
class Identity:
    """Name and ID of a patient, to keep them out of names of files; never printed.

    removed: whether the header says that these are pseudonyms (PatientIdentityRemoved).
    """

    name: str = ""
    patient_id: str = ""
    removed: bool = False


@dataclass(frozen=True)
class Study:
    """One study.

    key: hash of the UID and the patient. scan: its images, each once, and the files beside them that cannot be read.
    An image from a zip file has the path of that file. copies: files that are left out because their images lie
    elsewhere as well. identity: of the patient.
    """

    key: str
    scan: FolderScan
    copies: int = 0
    identity: Identity = field(default=Identity(), repr=False)

    @property
    def folder(self) -> Path:
        """The folder, or the zip file, that all its images lie in."""
        return self.scan.folder

    @property
    def modalities(self) -> set[str]:
        """Modalities of its images."""
        return {image.modality for image in self.scan.images}


def is_packed(path: Path) -> bool:
    """Return whether a path is that of a zip file, whose images have no path of their own."""
    return path.suffix.lower() == ZIP


def find_studies(
    files: Sequence[Path], archives: Sequence[Path] = (), *, root: Path, whole: bool = False
) -> tuple[list[Study], list[InputError]]:
    """Return the studies of files and zip files, in the order of their first images, and what cannot be read.

    A study is what has one StudyInstanceUID and one PatientID; without a UID, what lies in one folder. An image that
    lies in two places, by its UID and position, counts once. A zip file that is damaged, and a folder of which no DICOM
    file can be read, is an error.

    Args:
        files, archives: in the order of their names; files that are no DICOM are skipped.
        root: the folder that was searched.
        whole: keep the whole headers of CT images if there is a single study, as for `scan_folder`.
    """
    whole = whole and len(files) <= _MOST_WHOLE
    shown = progress(files, "files") if len(files) > _MANY else files
    scan = scan_files(shown, root, whole=whole)
    numbers = _numbers(root)
    images = [replace(image, file=numbers.get(image.path, image.file)) for image in scan.images]
    unread: dict[Path, list[tuple[int, str]]] = defaultdict(list)  # by zip file, or folder
    for number, why in scan.unread:
        path = files[number - 1]
        unread[path.parent].append((numbers.get(path, number), why))
    identities: dict[tuple[str, str], Identity] = {}
    _add_identities(identities, images)
    errors = []
    for archive in archives:
        try:
            with unpacked(archive) as folder:
                inside = scan_folder(folder, whole=whole)
                _add_identities(identities, inside.images)
        except InputError as error:
            errors.append(error)
            continue
        images += [replace(image, path=archive) for image in inside.images]
        unread[archive] += inside.unread
    studies = []
    for key, group in _grouped(images).items():
        kept = without_copies(group)
        places = {place_of(image) for image in kept}
        beside = [one for place in sorted(places) for one in unread[place]]
        found = FolderScan(_common(kept, root), tuple(kept), tuple(beside), len(kept) + len(beside), 0)
        identity = identities[group[0].patient, group[0].study]
        studies.append(Study(key, found, len(group) - len(kept), identity))
    readable = {place_of(image) for image in images}
    errors += [
        InputError(f"no DICOM file can be read: {FolderScan(place, (), tuple(found), 0, 0).reasons}", place, "no_dicom")
        for place, found in unread.items()
        if found and place not in readable
    ]
    if len(studies) > 1:  # whole headers of many studies would fill the memory
        studies = [replace(study, scan=_bare(study.scan)) for study in studies]
    return studies, errors


def _numbers(root: Path) -> dict[Path, int]:
    """Return the numbers by which errors name files: among all in the folder, as for `scan_folder`."""
    try:
        return {path: number for number, path in enumerate(regular_files(root)[0], 1)}
    except InputError:  # a zip file, or a folder in it that cannot be read
        return {}


def place_of(image: SliceHeader) -> Path:
    """Return the folder or the zip file that an image lies in."""
    return image.path if is_packed(image.path) else image.path.parent


def _bare(scan: FolderScan) -> FolderScan:
    return replace(scan, images=tuple(replace(image, data=None) for image in scan.images))


def _grouped(images: Sequence[SliceHeader]) -> dict[str, list[SliceHeader]]:
    groups: dict[str, list[SliceHeader]] = defaultdict(list)
    for image in images:
        groups[study_key(image, place_of(image))].append(image)
    return groups


def study_key(image: SliceHeader, place: Path) -> str:
    """Return the name of an image's study in this project: by patient and UID, without a UID by patient and place."""
    return series_key(f"{image.patient} {place if image.study == _NONE else image.study}")


def without_copies(images: Sequence[SliceHeader], unpacked_ones: bool = False) -> list[SliceHeader]:
    """Return the images, each once.

    Two files of one folder stay, because the reader asks which of them is right; not so if they were unpacked.
    """
    first: dict[tuple[object, ...], Path] = {}
    kept = []
    for image in images:
        own = (image.series, image.instance, image.position, image.size)
        again = own in first and (unpacked_ones or is_packed(image.path) or first[own] != place_of(image))
        if not (image.instance and again):
            kept.append(image)
            first.setdefault(own, place_of(image))
    return kept


def _common(images: Sequence[SliceHeader], root: Path) -> Path:
    """Return the folder or zip file that all images lie in."""
    places = {place_of(image) for image in images}
    return Path(os.path.commonpath(places)) if len(places) > 1 else next(iter(places), root)


def _add_identities(known: dict[tuple[str, str], Identity], images: Sequence[SliceHeader]) -> None:
    for image in images:
        if (image.patient, image.study) not in known:
            known[image.patient, image.study] = _identity(image.path)


def _identity(path: Path) -> Identity:
    from pydicom.filereader import read_partial

    with silent(), open(path, "rb") as file:
        data = read_partial(file, lambda tag, *_: tag > _LAST_TAG, force=True)
        removed = str(data.get("PatientIdentityRemoved") or "").strip().upper() == "YES"
        return Identity(str(data.get("PatientName") or ""), str(data.get("PatientID") or ""), removed)
