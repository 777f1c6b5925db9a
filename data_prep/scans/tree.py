"""What lies in a tree of folders: image files, DICOM files and zip files; labels and hidden files are skipped."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.datasets.hints import is_label_name
from data_prep.datasets.kits import IMAGE_FILE_STEMS, LABEL_FILE_STEMS, choose_file
from data_prep.errors import InputError
from data_prep.files.outputs import has_keys
from data_prep.formats.image_source import FILE_ENDINGS, stem_of

_LABEL_FOLDERS = re.compile(r"labels?(tr|ts|va)?|segmentations?|instances|masks?|tumor_probability", re.IGNORECASE)
_LABEL_FILES = re.compile(r"(.*[_.-])?(seg|segmentation|labels?|masks?)", re.IGNORECASE)
_SYSTEM = ("__MACOSX", "$RECYCLE.BIN", "System Volume Information")
_FIRST_CHANNEL, _CHANNEL = "_0000", re.compile(r"_\d{4}")  # of nnU-Net's names
_RECORD = has_keys("program", "files")  # beside labels that this project wrote


@dataclass
class Tree:
    """What was found. images: (name, file); files: all others, which may be DICOM; archives: zip files."""

    root: Path
    images: list[tuple[str, Path]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)
    links: int = 0  # to folders and files that may be DICOM, which are not followed


def walk(root: Path, out: Path | None = None) -> Tree:
    """Return what lies in and below a folder, in the order of names; `out`: a folder that is left out.

    A folder with `imaging` is one case. Links to folders are followed to cases alone. Labels are known by the names
    that data sets give them, or by the record beside them.
    """
    tree = Tree(root)
    labels = 0

    def fail(error: OSError) -> None:
        what = f"the folder cannot be read ({error.strerror}); allow it to be read, or leave it out"
        tree.problems.append(InputError(what, error.filename, "no_permission"))

    for place, folders, names in os.walk(root, onerror=fail):
        folder = Path(place)
        names.sort(key=os.fsencode)
        folders.sort(key=os.fsencode)
        case, notes = choose_file(folder, names, IMAGE_FILE_STEMS)
        if case is not None:
            tree.images.append((Path(os.path.abspath(folder)).name, case))
            tree.notes += [f"{folder.name}: {note}" for note in notes]
            folders.clear()
            continue
        linked = [name for name in folders if (folder / name).is_symlink()]
        for name in linked:
            case, notes = choose_file(folder / name, _names(folder / name), IMAGE_FILE_STEMS)
            tree.links += case is None
            tree.images += [] if case is None else [(name, case)]
        hidden = [name for name in folders if name[0] == "." or name in _SYSTEM or _LABEL_FOLDERS.fullmatch(name)]
        labels += sum(_LABEL_FOLDERS.fullmatch(name) is not None for name in hidden)
        skipped = {*linked, *hidden}
        folders[:] = [name for name in folders if name not in skipped and not (out and _is(folder / name, out))]
        labels += _sort(folder, [name for name in names if name[0] != "."], tree)
    if labels:
        tree.notes.append(f"{labels} files or folders of labels skipped, by their names or records")
    if tree.links:
        tree.notes.append(f"{tree.links} links skipped")
    return tree


def _sort(folder: Path, names: Collection[str], tree: Tree) -> int:
    """Add the files of one folder to the tree; return how many label files are skipped."""
    images, labels = [], 0
    for name in names:
        path = folder / name
        if name.endswith(FILE_ENDINGS):
            if is_label_name(name) or _is_label(path, names):
                labels += 1
            elif path.is_file():
                images.append(path)
        elif path.is_symlink():
            tree.links += 1
        elif path.is_file():
            (tree.archives if path.suffix.lower() == ".zip" else tree.files).append(path)
    stems = [stem_of(path) for path in images]
    channels = all(_CHANNEL.fullmatch(stem[-5:]) for stem in stems) and any(s.endswith(_FIRST_CHANNEL) for s in stems)
    for stem, path in zip(stems, images, strict=True):
        if not channels:
            tree.images.append((stem, path))
        elif stem.endswith(_FIRST_CHANNEL):
            tree.images.append((stem.removesuffix(_FIRST_CHANNEL), path))
        else:
            tree.notes.append(f"{path.name}: another channel than the first: skipped")
    return labels


def _is_label(path: Path, names: Collection[str]) -> bool:
    stem = stem_of(path)
    if stem in LABEL_FILE_STEMS or _LABEL_FILES.fullmatch(stem):
        return True
    return f"{stem}.json" in names and _RECORD(path.with_name(f"{stem}.json"))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _is(path: Path, other: Path) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False
