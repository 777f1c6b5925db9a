"""Which label file is of which case, in the ways that folders of predictions and of truths are laid out."""

from __future__ import annotations

from pathlib import Path

from data_prep.datasets.kits import LABELS
from data_prep.errors import InputError
from data_prep.formats.image_source import FILE_ENDINGS

SEGMENTATION_ENDING = ".dcm"  # a DICOM Segmentation


def find_label_files(root: str | Path) -> dict[str, Path]:
    """Return label files by case name, sorted: of a folder of files or case folders, one case, or one file.

    `NAME.nii.gz`, `prediction_NAME.nii.gz` and `NAME/segmentation.nii.gz` are all case NAME, and so are the other
    endings that `data_prep.volume.read_labels` takes; KiTS21's `NAME/aggregated_MAJ_seg.nii.gz` counts where there is
    no `segmentation`. A DICOM Segmentation `NAME.dcm` counts where the case has no other file. A NAME of digits
    only is `case_NAME`, as the challenge numbers its predictions. Hidden files and `imaging` are passed over.
    InputError for a missing folder, one without label files, and two files of one case.
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
        if found.name.endswith((*FILE_ENDINGS, SEGMENTATION_ENDING))
    ]
    files: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: path.name.endswith(SEGMENTATION_ENDING)):
        other = files.setdefault(_case_name(path), path)
        if other != path and not path.name.endswith(SEGMENTATION_ENDING):
            raise InputError(f"{path}: is of the same case as {other}; keep one of the two")
    if not files:
        raise InputError(f"{root}: found no label file; expected NAME.nii.gz files or folders NAME/segmentation.nii.gz")
    return dict(sorted(files.items()))


def _segmentation(folder: Path) -> list[Path]:
    paths = [folder / f"{name}{end}" for name in LABELS for end in (*FILE_ENDINGS, SEGMENTATION_ENDING)]
    return [path for path in paths if path.is_file()][:1]


def _case_name(path: Path) -> str:
    ends = [end for end in (*FILE_ENDINGS, SEGMENTATION_ENDING) if path.name.endswith(end)]
    stem = path.name.removesuffix(ends[0]) if ends else path.name
    name = path.resolve().parent.name if stem in LABELS else stem.removeprefix("prediction_")
    return f"case_{name}" if name.isdecimal() else name
