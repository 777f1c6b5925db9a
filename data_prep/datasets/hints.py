"""Hints for a folder without cases: what lies there, and the option that reads it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from data_prep.files.names import printable
from data_prep.formats.image_source import FILE_ENDINGS, stem_of

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
_LABELS_ALONE = ".seg.nrrd"  # 3D Slicer's ending of label maps
_MOST_FOLDERS = 50  # that are looked into
_MOST_PEEKED = 200  # files of a folder that are searched for DICOM


def is_label_name(name: str) -> bool:
    """Return whether a file holds labels by its ending, whatever its folder."""
    return name.endswith(_LABELS_ALONE)


def holds_dicom_mark(folder: Path) -> bool:
    """Return whether one of the first files below `folder` has the mark of DICOM, `DICM` after 128 bytes."""
    # does not follow links, nor opens pipes, which would block
    paths = (Path(place, name) for place, _, names in os.walk(folder) for name in sorted(names))
    for path in islice(paths, _MOST_PEEKED):
        with suppress(OSError):
            if path.is_file():
                with open(path, "rb") as file:
                    if file.read(132)[128:] == b"DICM":
                        return True
    return False


def layout_hint(root: Path) -> str:
    """Return what lies in a folder without cases and the option that reads it; empty if nothing is known.

    >>> layout_hint(Path("/nowhere"))
    ''
    """
    names = _names(root)
    if found := [name for name in names if name.lower().endswith(ARCHIVES) and not name.endswith(FILE_ENDINGS)]:
        return f"{printable(found[0])} is an archive; unpack it"
    if images := _images(names):
        return f"{len(images)} image files lie in it; give --images '{_pattern(images)}'"
    folders = [name for name in names if (root / name).is_dir()][:_MOST_FOLDERS]
    inside = {name: _images(_names(root / name)) for name in folders}
    for name in sorted(folders, key=lambda name: not name.lower().startswith("image")):
        if len(inside[name]) > 1 and name.lower().startswith(("image", "img", "ct", "scan", "volume")):
            return f"{len(inside[name])} image files lie in {name}; give --images '{name}/{_pattern(inside[name])}'"
    if same := Counter(file for files in inside.values() for file in files).most_common(1):
        return f"{same[0][1]} of its folders hold {same[0][0]}; give --images '{{case}}/{same[0][0]}'"
    if dicom := [name for name in folders if holds_dicom_mark(root / name)]:
        return f"{len(dicom)} of its folders hold DICOM files; give --images '{{case}}'"
    return ""


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith(".") and printable(name) == name)
    except OSError:
        return []


def _images(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.endswith(FILE_ENDINGS) and not is_label_name(name)]


def _pattern(names: Sequence[str]) -> str:
    stem = stem_of(names[0])
    ending = names[0].removeprefix(stem)
    numbered = all(stem_of(name).endswith("_0000") for name in names)  # nnU-Net's first channel
    return "{case}" + "_0000" * numbered + ending
