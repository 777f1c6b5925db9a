"""Find cases in a folder: the layouts of KiTS19, 21 and 23, and any other layout by patterns."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.datasets.hints import holds_dicom_mark, is_label_name, layout_hint
from data_prep.datasets.metadata import read_metadata
from data_prep.datasets.patterns import match_pattern
from data_prep.errors import InputError
from data_prep.files.names import LONGEST_NAME, printable, safe_name
from data_prep.formats.image_source import FILE_ENDINGS

IMAGE_FILE_STEMS = ("imaging",)
LABEL_FILE_STEMS = ("segmentation", "aggregated_MAJ_seg")  # KiTS21 has the second, the majority of its annotators
DICOM_FOLDERS = ("imaging", "dicom")
DICOM_SEG_ENDING = ".dcm"  # of labels

_ONE_FILE = "change the pattern so that it names one; a mask for each structure: merge them (docs/howto/recipes.md)"
_PATIENT = re.compile(r"case_\d{5}")


@dataclass(frozen=True)
class Case:
    """One scan.

    name: of its folder. patient: the unit of splits. image: a file, or the folder of a DICOM series. labels: None if it
    has none. metadata: the case's record in the data set's `kits.json` (plain numbers, texts, booleans), or None.
    """

    name: str
    patient: str
    image: Path
    labels: Path | None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True)
class Problem:
    """A problem in a folder. case: printable, empty for the whole folder; code: one of `check.findings.KINDS`."""

    case: str
    code: str
    what: str

    def __str__(self) -> str:
        return f"{self.case}: {self.what}" if self.case else self.what


@dataclass(frozen=True)
class Layout:
    """Content of a folder: its cases, labels without image as (name, path, metadata), and problems."""

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


def find_cases(
    root: str | Path, images: str | None = None, labels: str | None = None
) -> tuple[list[Case], list[Problem]]:
    """Find the cases of a folder, sorted by name.

    Without patterns a case is a folder `root/<case>` with the files of `case_files`; `root` may also be one case
    folder. Other folders and files, such as KiTS' `instances` and `segmentations`, are skipped.

    Args:
        root: the folder.
        images: pattern of the images below `root`, see `match_pattern`.
        labels: pattern of the labels, only with `images`.

    Returns:
        The cases, and the problems: cases without image (left out) or without labels (kept, usable for prediction
        only), names that are not `safe_name` (left out), a `kits.json` that cannot be used.

    Raises:
        InputError: `root` is not a folder or holds no case, or a pattern fits two files of one case.
    """
    layout = find_layout(root, images, labels)
    for problem in layout.problems:
        if problem.code == "two_files":
            raise InputError(f"{problem}; {_ONE_FILE}")
    if not layout.cases:
        raise no_case(root, layout, images)
    return layout.cases, layout.problems


def no_case(root: str | Path, layout: Layout, images: str | None = None) -> InputError:
    """Return the error for a folder without cases: what was found, and the option that reads what lies there."""
    if images is None:
        wanted = "expected folders such as case_00000 with imaging.nii.gz in each"
        without = sum(problem.code == "missing_image" for problem in layout.problems)
        found = f"{without} case folders without imaging" if without else "no case folder"
        if hint := layout_hint(Path(root)):
            found += f", but {hint}"
    else:
        found, wanted = "nothing", f"expected files that fit --images {images!r}"
    refused = sum(problem.code == "unsafe_name" for problem in layout.problems)
    found += f" ({refused} refused for their names)" if refused else ""
    return InputError(f"found {found}; {wanted}", path=root)


def find_layout(root: str | Path, images: str | None = None, labels: str | None = None) -> Layout:
    """Find what `find_cases` finds, and labels that have no image; InputError only if `root` is not a folder."""
    root = Path(root)
    if not root.exists():
        raise InputError("no such folder", path=root, code="no_such_file")
    if not root.is_dir():
        raise InputError("is a file; expected a folder of cases, each with imaging.nii.gz", path=root)
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
        record = metadata.get(name, metadata.get(patient))
        if image is not None:
            cases.append(Case(name, patient, image, label, record))
            if label is None:
                problems.append(Problem(name, "no_labels", "has no labels: usable for prediction only"))
        elif label is not None:
            labels_alone.append((name, label, record))
    return Layout(cases, labels_alone, sorted(problems, key=lambda problem: problem.case))


def case_files(folder: Path) -> tuple[Path | None, Path | None, list[str]]:
    """Return the image and the labels in a case folder, None for each that it lacks, and notes on unused files.

    The image is `imaging` (`.nii.gz`, `.nii`, `.nrrd`, `.mha`, or a folder `imaging` or `dicom` with DICOM files). The
    labels are `segmentation` (also `.dcm`, a DICOM SEG) or, without one, KiTS21's `aggregated_MAJ_seg`. OSError if the
    folder cannot be listed.
    """
    entries = sorted(os.listdir(folder))
    image, notes = choose_file(folder, entries, IMAGE_FILE_STEMS)
    if image is None:
        folders = (folder / name for name in DICOM_FOLDERS if name in entries)
        image = next((path for path in folders if holds_dicom_mark(path)), None)
    labels, more = choose_file(folder, entries, LABEL_FILE_STEMS, (*FILE_ENDINGS, DICOM_SEG_ENDING))
    return image, labels, notes + more


def choose_file(
    folder: Path, entries: Collection[str], stems: Sequence[str], endings: Sequence[str] = FILE_ENDINGS
) -> tuple[Path | None, list[str]]:
    """Return the first of `stems` and `endings` among the entries of a folder, and a note on unused formats of it."""
    for stem in stems:
        found = [stem + end for end in endings if stem + end in entries]
        if found:
            notes = [f"has {' and '.join(found)}: {found[0]} is used"] if len(found) > 1 else []
            return folder / found[0], notes
    return None, []


def _kits_folders(root: Path, problems: list[Problem]) -> dict[str, tuple[Path | None, Path | None]]:
    entries = sorted(os.listdir(root))
    is_case = choose_file(root, entries, (*IMAGE_FILE_STEMS, *LABEL_FILE_STEMS))[0] is not None
    folders = [root] if is_case else [root / name for name in entries if (root / name).is_dir()]
    found: dict[str, tuple[Path | None, Path | None]] = {}
    for folder in folders:
        name = Path(os.path.abspath(folder)).name if is_case else folder.name  # `.` has no name of its own
        numbered = _PATIENT.match(name) is not None
        try:
            image, labels, notes = case_files(folder)
        except OSError as error:
            if numbered:
                what = f"the folder cannot be listed ({error.strerror})"
                problems.append(Problem(printable(name), "no_permission", what))
            continue
        if not numbered and image is None and labels is None:
            continue
        if not safe_name(name):
            problems.append(_refused(name))
            continue
        problems += [Problem(name, "spare_file", note) for note in notes]
        if image is None:
            similar = IMAGE_FILE_STEMS + DICOM_FOLDERS
            near = [printable(one, 60) for one in sorted(os.listdir(folder)) if one.lower().startswith(similar)]
            hint = f" (found {', '.join(near[:3])})" if near else ""
            problems.append(Problem(name, "missing_image", f"has no imaging.nii.gz: left out{hint}"))
        found[name] = (image, labels)
    return found


def _pairs(
    root: Path, images: str, labels: str | None, problems: list[Problem]
) -> dict[str, tuple[Path | None, Path | None]]:
    labels_of = _by_name(root, labels, "--labels", problems) if labels is not None else {}
    image_of = _by_name(root, images, "--images", problems, set(labels_of.values()))
    known = {problem.case for problem in problems}
    for name in sorted(labels_of.keys() - image_of.keys() - known):
        problems.append(Problem(name, "missing_image", "has labels, but no image that fits --images: left out"))
    return {name: (image_of.get(name), labels_of.get(name)) for name in image_of.keys() | labels_of.keys()}


def _by_name(
    root: Path, pattern: str, option: str, problems: list[Problem], labels: Collection[Path] = ()
) -> dict[str, Path]:
    # labels: files that fit --labels are no images
    paths: dict[str, list[Path]] = defaultdict(list)
    for name, path in match_pattern(root, pattern, option):
        if option == "--labels" or not (path in labels or is_label_name(path.name)):
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
        f"this name is refused: expected up to {LONGEST_NAME} printable characters without quotes, separators or "
        "markup; rename it"
    )
    return Problem(printable(name), "unsafe_name", what)
