"""What a prediction leaves: labels, the JSON that tells of them, more on request; and whether it is there already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.errors import InputError
from data_prep.files.atomic import replacing
from data_prep.files.checksums import sha256_of
from data_prep.files.json_files import write_json
from data_prep.formats.image_source import FILE_ENDINGS
from data_prep.formats.probability_map import write_percent
from data_prep.version import code_version
from data_prep.volume import write_labels

if TYPE_CHECKING:
    from data_prep.geometry.volume import Volume

PROGRAM = "kidney_seg"
_REMEDY = "choose another --out, or replace it with --force"


@dataclass(frozen=True)
class Outputs:
    """The files of one scan; `percent` and `seg` are None where they are not wanted."""

    labels: Path
    record: Path
    percent: Path | None = None
    seg: Path | None = None

    @property
    def all(self) -> list[Path]:
        """The wanted files but the record."""
        return [path for path in (self.labels, self.percent, self.seg) if path is not None]

    def absolute(self) -> Outputs:
        """Return the same files by absolute paths."""
        percent, seg = (path and path.absolute() for path in (self.percent, self.seg))
        return Outputs(self.labels.absolute(), self.record.absolute(), percent, seg)

    def key(self, path: Path) -> str:
        """Return what a file is called in the record: its place from the labels' folder."""
        return path.relative_to(self.labels.parent).as_posix()


def outputs_of(labels: Path, *, probabilities: bool = False, dicom_seg: bool = False) -> Outputs:
    """Return the files beside a label file: `X.json`, `X.dcm`, and `tumor_probability/X.nii.gz` in its folder.

    The probabilities have a folder of their own, so that a folder of predictions holds nothing but labels.
    """
    stem = next((labels.name.removesuffix(end) for end in FILE_ENDINGS if labels.name.endswith(end)), None)
    if stem is None:
        raise InputError(f"--out {labels}: expected a name that ends in .nii.gz for the labels of one scan")
    folder = labels.parent
    return Outputs(
        labels,
        folder / f"{stem}.json",
        folder / "tumor_probability" / f"{stem}.nii.gz" if probabilities else None,
        folder / f"{stem}.dcm" if dicom_seg else None,
    )


def is_done(outputs: Outputs, made_by: Mapping[str, Any], image: Mapping[str, Any] | None = None) -> bool:
    """Whether all wanted files are there, whole, and made in the same way: `made_by` and, if given, `image`.

    False where they are to be made, or made again because they were not finished or some are missing. What is there,
    but made otherwise, changed since, or of nobody known is not ours to replace: InputError.
    """
    there = [path for path in (*outputs.all, outputs.record) if path.exists()]
    if not there:
        return False
    record = _read(outputs.record)
    if record is None:
        raise InputError(f"{there[0]}: is there already, and no {outputs.record.name} tells how it was made; {_REMEDY}")
    if not (record["files"] and outputs.labels.exists()):
        return False
    before, now = ({**record.get("made_by", {}), "image": record.get("image")}, {**made_by, "image": image})
    other = [name for name in now if now[name] is not None and before.get(name) != now[name]]
    if other:
        raise InputError(f"{outputs.labels}: is there already, but made with other {' and '.join(other)}; {_REMEDY}")
    made = record["files"]
    for path in (path for path in outputs.all if path.exists()):
        if sha256_of(path) != made.get(outputs.key(path)):
            raise InputError(f"{path}: is there already, but not as it was written; {_REMEDY}")
    return all(path.exists() for path in outputs.all)


def write_outputs(
    outputs: Outputs, volume: Volume, labels: np.ndarray, percent: np.ndarray | None, content: Mapping[str, Any]
) -> dict[str, Any]:
    """Write all wanted files, each whole or not at all, and return the record: `content` and the files' checksums.

    labels, percent: uint8 [z, y, x] on the volume's grid. The record comes first, without checksums, and is written
    again before the labels get their name: a process that is killed leaves nothing that the next one would take for
    finished, or for another's. Where one cannot be written, none is left.
    """
    record = {"program": f"{PROGRAM} {code_version()}", **content, "files": {}}
    write_json(outputs.record, record)
    try:
        if outputs.percent is not None:
            if percent is None:
                raise ValueError(f"no percentages for {outputs.percent}")
            write_percent(percent, volume.source, outputs.percent)
        if outputs.seg is not None:
            _write_seg(outputs.seg, labels, volume)
        with replacing(outputs.labels) as temporary:
            write_labels(labels, volume.source, temporary)
            made = {path: path for path in outputs.all} | {outputs.labels: temporary}
            record["files"] = {outputs.key(path): sha256_of(file) for path, file in made.items()}
            write_json(outputs.record, record)
    except Exception:
        for path in (outputs.record, outputs.percent, outputs.seg):
            if path is not None:
                path.unlink(missing_ok=True)
        raise
    return record


def check_source(outputs: Outputs, image: Path) -> None:
    """Raise InputError where a DICOM SEG is wanted of an image that is no DICOM series."""
    if outputs.seg is not None and not image.is_dir():
        raise InputError(f"{image}: is no DICOM series, to which alone a DICOM SEG can refer; leave --dicom-seg out")


def _write_seg(path: Path, labels: np.ndarray, volume: Volume) -> None:
    from data_prep.dicom.seg_writer import write_dicom_seg

    write_dicom_seg(labels, volume, path, algorithm_name=PROGRAM, algorithm_version=code_version())


def _read(path: Path) -> dict | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        ours = record["program"].split()[0] == PROGRAM and isinstance(record["files"], dict)
        return record if ours else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
