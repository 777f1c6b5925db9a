"""Which folders and files are cases: the layouts of KiTS19, 21 and 23, other pairs by pattern; THE table of labels."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.datasets.metadata import read_metadata
from data_prep.datasets.patterns import match_pattern
from data_prep.errors import InputError
from data_prep.files.names import LONGEST_NAME, printable, safe_name

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")  # what a file that is read may end in; the first that is there counts
IMAGES = ("imaging",)
LABELS = ("segmentation", "aggregated_MAJ_seg")  # KiTS21 has the second, the majority of its annotators
DICOM_FOLDERS = ("imaging", "dicom")

_PATIENT = re.compile(r"case_\d{5}")
_PEEKED = 200  # files of a folder that are looked into for DICOM


@dataclass(frozen=True)
class Case:
    """One scan. name: its folder's; patient: whose it is, the unit of splits; labels: None if it has none.

    image: a file, or the folder of a DICOM series. metadata: what the data set's `kits.json` says of the case (plain
    numbers, texts, booleans), None without one.
    """

    name: str
    patient: str
    image: Path
    labels: Path | None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True)
class Problem:
    """A problem in a layout. case: a safe text, empty for the whole folder; code: as in `data_prep.check.findings`."""

    case: str
    code: str
    what: str

    def __str__(self) -> str:
        return f"{self.case}: {self.what}" if self.case else self.what


@dataclass(frozen=True)
class Layout:
    """All of a folder: its cases, labels that have no image (name, path, metadata), and what is amiss."""

    cases: list[Case]
    labels_alone: list[tuple[str, Path, dict[str, Any] | None]]
    problems: list[Problem]


def patient_of(name: str) -> str:
    """Return the `case_NNNNN` at the start of a case's name, or the whole name where it does not start so.

    >>> patient_of("case_00135_s0103"), patient_of("liver-7")
    ('case_00135', 'liver-7')
    """
    match = _PATIENT.match(name)
    return match.group() if match else name


def find_cases(root: str | Path, images: str | None = None, labels: str | None = None) -> tuple[list[Case], list[str]]:
    """Find the cases of a folder, sorted by name.

    Without patterns: `root/<case>/imaging` (`.nii.gz`, `.nii`, `.nrrd`, `.mha`, or a folder `imaging` or `dicom`
    with DICOM files) with `segmentation`, or KiTS21's `aggregated_MAJ_seg` where there is none. `root` may be one case
    folder, too. Other folders and files, KiTS' `instances` and `segmentations` among them, are passed over.
    With `images` and, optionally, `labels`: see `match_pattern`.

    Returns the cases, and one line for each problem: a case without image (left out) or without labels (kept, usable
    for prediction only), a name that is not `safe_name` (left out), a `kits.json` that cannot be used. InputError
    where `root` is not a folder or holds no case, and where a pattern gives one case two files.
    """
    layout = find_layout(root, images, labels)
    for problem in layout.problems:
        if problem.code == "two_files":
            raise InputError(f"{problem}; change the pattern so that it names one")
    if not layout.cases:
        if images is None:
            wanted = "expected folders such as case_00000 with imaging.nii.gz in each"
            without = sum(problem.code == "missing_image" for problem in layout.problems)
            found = f"{without} case folders without imaging" if without else "no case folder"
        else:
            found, wanted = "nothing", f"expected files that fit --images {images!r}"
        refused = sum(problem.code == "unsafe_name" for problem in layout.problems)
        found += f" ({refused} refused for their names)" if refused else ""
        raise InputError(f"{root}: found {found}; {wanted}")
    return layout.cases, [str(problem) for problem in layout.problems]


def find_layout(root: str | Path, images: str | None = None, labels: str | None = None) -> Layout:
    """Find all that `find_cases` does, with labels that have no image; InputError only where `root` is no folder."""
    root = Path(root)
    if not root.exists():
        raise InputError(f"{root}: there is no such folder")
    if not root.is_dir():
        raise InputError(f"{root}: is a file; expected a folder of cases, each with imaging.nii.gz")
    if labels is not None and images is None:
        raise InputError(f"--labels {labels!r} was given without --images; give both, or images alone")
    problems: list[Problem] = []
    found = _kits_folders(root, problems) if images is None else _pairs(root, images, labels, problems)
    metadata, unusable = read_metadata(root)
    problems += [Problem("", "bad_metadata", printable(line)) for line in unusable]
    cases: list[Case] = []
    labels_alone: list[tuple[str, Path, dict[str, Any] | None]] = []
    for name, (image, label) in sorted(found.items()):
        patient = patient_of(name)
        said = metadata.get(name, metadata.get(patient))
        if image is not None:
            cases.append(Case(name, patient, image, label, said))
            if label is None:
                problems.append(Problem(name, "no_labels", "has no labels: usable for prediction only"))
        elif label is not None:
            labels_alone.append((name, label, said))
    return Layout(cases, labels_alone, sorted(problems, key=lambda problem: problem.case))


def _kits_folders(root: Path, problems: list[Problem]) -> dict[str, tuple[Path | None, Path | None]]:
    entries = _listed(root)
    is_case = _choose(root, entries, IMAGES)[0] is not None or _choose(root, entries, LABELS)[0] is not None
    folders = [root] if is_case else [root / name for name in entries if (root / name).is_dir()]
    found: dict[str, tuple[Path | None, Path | None]] = {}
    for folder in folders:
        name = folder.resolve().name if is_case else folder.name  # `.` has no name of its own
        numbered = _PATIENT.match(name) is not None
        try:
            inside = _listed(folder)
        except OSError as error:
            if numbered:
                problems.append(
                    Problem(printable(name), "no_permission", f"the folder cannot be listed ({error.strerror})")
                )
            continue
        image, spare = _choose(folder, inside, IMAGES)
        image = image or _dicom_folder(folder, inside)
        labels, spare_labels = _choose(folder, inside, LABELS)
        if not numbered and image is None and labels is None:
            continue
        if not safe_name(name):
            problems.append(_refused(name))
            continue
        for line in spare + spare_labels:
            problems.append(Problem(name, "spare_file", line))
        if image is None:
            near = [printable(entry, 60) for entry in inside if entry.lower().startswith(IMAGES + DICOM_FOLDERS)]
            hint = f" (found {', '.join(near[:3])})" if near else ""
            problems.append(Problem(name, "missing_image", f"has no imaging.nii.gz: left out{hint}"))
        found[name] = (image, labels)
    return found


def _listed(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def _choose(folder: Path, entries: list[str], stems: tuple[str, ...]) -> tuple[Path | None, list[str]]:
    """Return the file to use, and a line where the same thing is there in two formats."""
    for stem in stems:
        there = [stem + end for end in ENDINGS if stem + end in entries]
        if there:
            lines = [f"has {' and '.join(there)}: {there[0]} is used"] if len(there) > 1 else []
            return folder / there[0], lines
    return None, []


def _dicom_folder(folder: Path, entries: list[str]) -> Path | None:
    return next((folder / name for name in DICOM_FOLDERS if name in entries and _holds_dicom(folder / name)), None)


def _holds_dicom(folder: Path) -> bool:
    """Whether one of the first files below `folder` has the mark of DICOM, `DICM` after 128 bytes."""
    looked = 0
    for place, _, names in os.walk(folder):  # does not follow links
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file():  # not a pipe, which would be waited for
                try:
                    with open(path, "rb") as file:
                        if file.read(132)[128:] == b"DICM":
                            return True
                except OSError:
                    continue
            looked += 1
            if looked == _PEEKED:
                return False
    return False


def _pairs(
    root: Path, images: str, labels: str | None, problems: list[Problem]
) -> dict[str, tuple[Path | None, Path | None]]:
    image_of = _by_name(root, images, "--images", problems)
    labels_of = _by_name(root, labels, "--labels", problems) if labels is not None else {}
    known = {problem.case for problem in problems}
    for name in sorted(labels_of.keys() - image_of.keys() - known):
        problems.append(Problem(name, "missing_image", "has labels, but no image that fits --images: left out"))
    return {name: (image_of.get(name), labels_of.get(name)) for name in image_of.keys() | labels_of.keys()}


def _by_name(root: Path, pattern: str, option: str, problems: list[Problem]) -> dict[str, Path]:
    paths: dict[str, list[Path]] = defaultdict(list)
    for name, path in match_pattern(root, pattern, option):
        paths[name].append(path)
    chosen: dict[str, Path] = {}
    for name, several in paths.items():
        if not safe_name(name):
            problems.append(_refused(name))
        elif len(several) > 1:
            both = " and ".join(printable(path.relative_to(root)) for path in several[:2])
            problems.append(Problem(name, "two_files", f"{option} fits {len(several)} files: {both}"))
        else:
            chosen[name] = several[0]
    return chosen


def _refused(name: str) -> Problem:
    what = (
        "this name is refused: expected up to "
        f"{LONGEST_NAME} printable characters without quotes, separators or markup; rename it"
    )
    return Problem(printable(name), "unsafe_name", what)
