"""Find the images of a report's cases in folders of any layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_prep.datasets.hints import holds_dicom_mark, is_label_name
from data_prep.datasets.kits import case_files
from data_prep.errors import InputError
from data_prep.formats.image_source import FILE_ENDINGS, stem_of


@dataclass(frozen=True)
class Files:
    """The files of one case; None for each that is unknown."""

    image: Path | None
    truth: Path | None
    prediction: Path | None


class WithoutTruth(Files):
    """The files of a predicted case that is not scored: no truth is expected."""


def find_images(root: str | Path) -> dict[str, Path]:
    """Return the images below a folder by case name: case folders, `NAME.nii.gz`, `NAME_0000.nii.gz`, DICOM folders.

    A scan may also be one file. InputError if `root` does not exist.
    """
    root = Path(root)
    if not root.exists():
        raise InputError("no such file or folder", path=root, code="no_such_file")
    if root.is_file():
        return {_name(root): root}
    found: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            image, labels, _ = case_files(path)
            if image is not None:
                found[path.name] = image
            elif labels is None and holds_dicom_mark(path):
                found[path.name] = path
        elif path.name.endswith(FILE_ENDINGS) and not is_label_name(path.name):
            found.setdefault(_name(path), path)
    return found


def _name(path: Path) -> str:
    return stem_of(path).removesuffix("_0000")  # nnU-Net's first channel
