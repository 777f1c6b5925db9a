"""Find the scans to predict: files, DICOM studies, zip files, folders of cases, trees of all these, and lists."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.datasets.kits import find_cases, find_layout, no_case
from data_prep.dicom.choice import choose_series
from data_prep.dicom.headers import CT, series_key
from data_prep.dicom.reader import series_in
from data_prep.dicom.series import series_of
from data_prep.dicom.studies import DOCUMENTS, Study, find_studies, is_packed
from data_prep.errors import InputError
from data_prep.files.names import printable
from data_prep.files.regular_files import check_regular
from data_prep.formats.image_source import stem_of
from data_prep.scans.names import BY_FOLDER, PLAIN_NAMES, study_name, unique
from data_prep.scans.scan import Scan
from data_prep.scans.tree import Tree, walk

_NUMBER = 4  # digits of a key; a shorter text is a number of a series
_MOST_NAMED = 5  # scans in an error


@dataclass(frozen=True)
class Choice:
    """What to take of folders.

    images: file pattern of the folders of cases. split, part: only the patients of one set. series: number or key of
    one DICOM series. all_series: every CT series that can be read. name_by: see `study_name`. out: a folder of outputs,
    which is no input. for_seg: keep what a DICOM SEG needs.
    """

    images: str | None = None
    split: str | Path | None = None
    part: str = "test"
    series: str | None = None
    all_series: bool = False
    name_by: str = BY_FOLDER
    out: Path | None = None
    for_seg: bool = False


def find_scans(
    inputs: Sequence[str | Path],
    choice: Choice | None = None,
    log: Callable[[str], None] | None = None,
) -> tuple[list[Scan], bool]:
    """Return the scans of `inputs`, and whether they are a single scan: one file, one DICOM study.

    Every study in folders and zip files is a scan, read from the series that `choose_series` chooses; one that cannot
    be read is a scan with a `problem`.

    Args:
        inputs: image files, folders, zip files, a DICOMDIR (its folder is taken), or `@FILE`: a text file with one of
            these per line, relative to its folder; empty lines and lines that start with `#` are skipped.
        choice: what to take of them.
        log: receives a line per decision, when scans are found; standard error by default.

    Raises:
        InputError: no scan, two scans of one name, a name that a file cannot have, or a series that is not in one
            study. A file of a list that does not exist is reported when it is read.
    """
    choice = choice or Choice()
    log = log or _to_stderr
    paths = [path for given in inputs for path in _listed(str(given))]
    alone = len(paths) == len(inputs) == 1
    found: list[tuple[Scan, str]] = []
    notes: list[str] = []
    for path in paths:
        if alone and not path.exists():
            raise InputError("no such file or folder", path=path, code="no_such_file")
        if alone:
            check_regular(path)
        path = path.parent if path.name.upper() == "DICOMDIR" and path.is_file() else path
        if path.is_dir() and (choice.images or choice.split):
            found += [(scan, "") for scan in _cases(path, choice, notes.append)]
        elif path.is_dir() or (is_packed(path) and path.is_file()):
            found += _in_tree(path, choice, notes.append)
        else:
            found.append((Scan(_name(path), path, choice.series), ""))
    if choice.series is not None:
        found = _one_of(found, choice.series, len(paths))
    scans = [scan for scan, _ in found]
    for note in notes:
        log(note)
    single = alone and len(scans) == 1 and bool(not paths[0].is_dir() or scans[0].study or scans[0].problem)
    return (scans if single else unique(scans, [key for _, key in found])), single


def find_one(path: str | Path, choice: Choice | None = None, log: Callable[[str], None] | None = None) -> Scan:
    """Return the only scan in a file, a folder or a zip file, known as one by itself; otherwise as `find_scans`.

    InputError if there are several, which names them.
    """
    scans, _ = find_scans([path], choice, log)
    if len(scans) > 1:
        named = ", ".join(printable(scan.name) for scan in scans[:_MOST_NAMED]) + ", ..." * (len(scans) > _MOST_NAMED)
        detail = f"holds {len(scans)} scans ({named}); expected one: give its file or folder"
        raise InputError(f"{detail}, or all to python -m kidney_seg.predict", path)
    return scans[0].alone()


def _listed(given: str) -> list[Path]:
    if not given.startswith("@"):
        return [Path(given)]
    path = Path(given[1:])
    check_regular(path)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error}); expected a text file with one path per line", path=path) from None
    paths = [path.parent / line for line in lines if line and not line.startswith("#")]
    if not paths:
        raise InputError("names no scan; expected one path per line", path=path)
    return paths


def _name(path: Path) -> str:
    path = path if path.name not in ("", "..") else Path(os.path.abspath(path))
    stem = stem_of(path)
    return Path(os.path.abspath(path)).parent.name if stem.lower() in PLAIN_NAMES else stem


def _cases(folder: Path, choice: Choice, log: Callable[[str], None]) -> list[Scan]:
    """Return the cases of a folder by a pattern, or of one set of a split."""
    from data_prep.split.sets import patients_of

    cases, problems = find_cases(folder, choice.images)
    for problem in problems:
        if problem.code != "no_labels":  # they are not needed here
            log(f"note: {problem}")
    if choice.split:
        patients = patients_of(choice.split, choice.part)
        cases = [case for case in cases if case.patient in patients]
        if not cases:
            raise InputError(f"no case of the {choice.part} patients of {choice.split} is here", path=folder)
    return [Scan(case.name, case.image) for case in cases]


def _in_tree(root: Path, choice: Choice, log: Callable[[str], None]) -> list[tuple[Scan, str]]:
    """Return the scans in a folder or a zip file, each with what makes its name unique."""
    tree = walk(root, choice.out) if root.is_dir() else Tree(root, archives=[root])
    studies, errors = find_studies(tree.files, tree.archives, root=root, whole=choice.for_seg)
    for note in tree.notes:
        log(f"note: {printable(note)}")
    documents = [study for study in studies if study.modalities <= {*DOCUMENTS}]
    if documents:
        log(f"note: {len(documents)} studies without an image skipped")
    studies = [study for study in studies if study not in documents]
    found = [(Scan(name, path), _beside(path, root)) for name, path in tree.images]
    alone = len(studies) == 1 and not found and not errors
    for study in studies:
        found += _of_study(study, root, choice, alone)
    for error in [*tree.problems, *errors]:
        path = error.path or root
        found.append((Scan(f"unread-{series_key(os.path.relpath(path, root))}", path, problem=error), ""))
    if not found:
        raise _nothing(tree)
    if root.is_dir():
        _note_missing(root, [scan.image for scan, _ in found], log)
    return found


def _note_missing(root: Path, images: Sequence[Path], log: Callable[[str], None]) -> None:
    for problem in find_layout(root).problems:
        if problem.code == "missing_image" and not any(image.is_relative_to(root / problem.case) for image in images):
            log(f"note: {problem}")


def _nothing(tree: Tree) -> InputError:
    if tree.archives:
        return InputError(f"{len(tree.archives)} zip files hold no DICOM image; expected those of a CT", tree.root)
    if tree.links:
        return InputError(f"no scan found; {tree.links} links, which are not followed; give their targets", tree.root)
    return no_case(tree.root, find_layout(tree.root))


def _one_of(found: list[tuple[Scan, str]], wanted: str, inputs: int) -> list[tuple[Scan, str]]:
    """Return the only scan of a series, of which a number means something in a single study alone."""
    if inputs == len(found) == 1 and found[0][0].series == wanted:
        return found
    chosen = [one for one in found if one[0].series == wanted]
    if len(wanted) < _NUMBER or len(chosen) != 1:
        raise InputError(
            f"--series {wanted}: found {len(found)} scans in {inputs} inputs, expected one study, or the key of a "
            "series; python -m data_prep.dicom FOLDER lists them; --all-series takes every one"
        )
    return chosen


def _beside(path: Path, root: Path) -> str:
    """Return what tells an image from others of its name: its folders below the root."""
    return "_".join(path.parent.relative_to(root).parts) if path.parent != root else ""


def _of_study(study: Study, root: Path, choice: Choice, alone: bool) -> list[tuple[Scan, str]]:
    name = study_name(study, root, choice.name_by)
    notes = [f"{study.copies} files skipped: copies of images that lie elsewhere"] if study.copies else []
    base = Scan(name, root if alone else study.folder, study=study.key)

    def one(name: str, wanted: str | None) -> Scan:
        try:
            series, chosen = choose_series(study.scan, wanted)
            files = tuple(sorted({image.path for image in series.images}))
            if any(map(is_packed, files)):
                return replace(base, name=name, series=wanted or series.key, files=files, notes=(*chosen, *notes))
            found = series_in(study.scan, wanted)
        except InputError as error:
            return replace(base, name=name, series=wanted, problem=error)
        return replace(base, name=name, series=wanted, files=files, found=replace(found, notes=(*found.notes, *notes)))

    if choice.all_series:
        keys = [series.key for series in series_of(study.scan) if series.kind == CT]
        every = [one(f"{name}_series-{key}", key) for key in keys]
        if readable := [scan for scan in every if scan.problem is None]:
            return [(scan, study.key) for scan in readable]
    return [(one(name, choice.series if alone or _has(study, choice.series) else None), study.key)]


def _has(study: Study, wanted: str | None) -> bool:
    """Return whether a number or key may be that of a series in this study."""
    if wanted is None:
        return False
    if len(wanted) < _NUMBER:
        return True
    return any(series.key.startswith(wanted.lower()) for series in series_of(study.scan))


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
