"""Find the label file of each case in a folder of predictions or of truths."""

from __future__ import annotations

import os
from pathlib import Path

from data_prep.datasets.kits import DICOM_SEG_ENDING, LABEL_FILE_STEMS, choose_file
from data_prep.errors import InputError
from data_prep.formats.image_source import FILE_ENDINGS

ENDINGS = (*FILE_ENDINGS, DICOM_SEG_ENDING)


def find_label_files(root: str | Path) -> dict[str, Path]:
    """Return label files by case name, sorted: of a folder of files or case folders, one case, or one file.

    `NAME.nii.gz`, `prediction_NAME.nii.gz` and `NAME/segmentation.nii.gz` are all case NAME, with any ending that
    `data_prep.volume.read_labels` takes; KiTS21's `NAME/aggregated_MAJ_seg.nii.gz` counts if there is no
    `segmentation`, a DICOM Segmentation `NAME.dcm` if the case has no other file. A NAME of digits only is `case_NAME`,
    as the challenge numbers its predictions. Hidden files and `imaging` are skipped. InputError for a missing folder,
    one without label files, and two files of one case.
    """
    root = Path(root)
    if not root.exists():
        raise InputError("no such file or folder", path=root, code="no_such_file")
    if root.is_file():
        return {_case_name(root): root}
    paths = _in_folder(root) or [
        found
        for path in sorted(root.iterdir())
        if not path.name.startswith((".", "imaging."))
        for found in (_in_folder(path) if path.is_dir() else [path])
        if found.name.endswith(ENDINGS)
    ]
    files: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: path.name.endswith(DICOM_SEG_ENDING)):
        other = files.setdefault(_case_name(path), path)
        if other != path and not path.name.endswith(DICOM_SEG_ENDING):
            raise InputError(f"is of the same case as {other}; keep one of the two", path=path)
    if not files:
        detail = "found no label file; expected NAME.nii.gz files or folders NAME/segmentation.nii.gz"
        raise InputError(detail, path=root)
    return dict(sorted(files.items()))


def _in_folder(folder: Path) -> list[Path]:
    path, _ = choose_file(folder, os.listdir(folder), LABEL_FILE_STEMS, ENDINGS)
    return [path] if path is not None and path.is_file() else []


def _case_name(path: Path) -> str:
    ending = next((end for end in ENDINGS if path.name.endswith(end)), "")
    stem = path.name.removesuffix(ending)
    name = Path(os.path.abspath(path)).parent.name if stem in LABEL_FILE_STEMS else stem.removeprefix("prediction_")
    return f"case_{name}" if name.isdecimal() else name
