"""Which label file is of which case, in the ways that folders of predictions and of truths are laid out."""

from __future__ import annotations

from pathlib import Path

from data_prep.command import InputError


def find_label_files(root: str | Path) -> dict[str, Path]:
    """Return label files by case name, sorted: of a folder of files or case folders, one case, or one file.

    `NAME.nii.gz`, `prediction_NAME.nii.gz` and `NAME/segmentation.nii.gz` (`.nii` too) are all case NAME; a
    NAME of digits only is `case_NAME`, as the challenge numbers its predictions. Hidden files and `imaging`
    are passed over. InputError for a missing folder, one without label files, and two files of one case.
    """
    root = Path(root)
    if not root.exists():
        raise InputError(f"{root}: there is no such file or folder")
    if root.is_file():
        return {_case_name(root): root}
    paths = _segmentation(root) or [
        found
        for path in sorted(root.iterdir())
        if not path.name.startswith((".", "imaging."))
        for found in (_segmentation(path) if path.is_dir() else [path])
        if found.name.endswith((".nii.gz", ".nii"))
    ]
    files: dict[str, Path] = {}
    for path in paths:
        other = files.setdefault(_case_name(path), path)
        if other != path:
            raise InputError(f"{path}: is of the same case as {other}; keep one of the two")
    if not files:
        raise InputError(f"{root}: found no label file; expected NAME.nii.gz files or folders NAME/segmentation.nii.gz")
    return dict(sorted(files.items()))


def _segmentation(folder: Path) -> list[Path]:
    paths = [folder / f"segmentation{end}" for end in (".nii.gz", ".nii")]
    return [path for path in paths if path.is_file()][:1]


def _case_name(path: Path) -> str:
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    name = path.resolve().parent.name if stem == "segmentation" else stem.removeprefix("prediction_")
    return f"case_{name}" if name.isdecimal() else name
