"""The files of one prediction (labels, their JSON record, more on request), and whether they are already made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.errors import InputError, require
from data_prep.files.atomic import replacing
from data_prep.files.checksums import sha256_of
from data_prep.files.json_files import write_json
from data_prep.formats.image_source import FILE_ENDINGS, stem_of
from data_prep.formats.probability_map import write_percent
from data_prep.version import code_version
from data_prep.volume import write_labels

if TYPE_CHECKING:
    from data_prep.geometry.volume import Volume

PROGRAM = "kidney_seg"


@dataclass(frozen=True)
class Missing:
    """Some of the files are still to be made."""


@dataclass(frozen=True)
class Done:
    """All files exist, unchanged, and were made in the same way. record: what was written about them."""

    record: dict[str, Any]


@dataclass(frozen=True)
class Foreign:
    """`path` exists, but is not what would be made: by other settings or another program, or changed since."""

    path: Path
    reason: str

    @property
    def error(self) -> InputError:
        """The error of a caller that must not replace it."""
        remedy = "choose another --out, or replace it with --force"
        return InputError(f"{self.reason}; {remedy}", path=self.path, code="exists")


@dataclass(frozen=True)
class Outputs:
    """The files of one scan; `percent` and `seg` are None if they are not wanted."""

    labels: Path
    record: Path
    percent: Path | None = None
    seg: Path | None = None

    @property
    def all(self) -> list[Path]:
        """The wanted files except the record."""
        return [path for path in (self.labels, self.percent, self.seg) if path is not None]

    def key(self, path: Path) -> str:
        """Return a file's name in the record: its path relative to the labels' folder."""
        return path.relative_to(self.labels.parent).as_posix()

    def state(self, made_by: Mapping[str, Any], image: Mapping[str, Any] | None = None) -> Missing | Done | Foreign:
        """Return what exists of the files, compared with what `made_by` and, if given, `image` would make."""
        existing = [path for path in (*self.all, self.record) if path.exists()]
        if not existing:
            return Missing()
        record = _read(self.record)
        if record is None:
            return Foreign(existing[0], f"exists, and no {self.record.name} records how it was made")
        if not (record["files"] and self.labels.exists()):
            return Missing()
        before, now = ({**record.get("made_by", {}), "image": record.get("image")}, {**made_by, "image": image})
        other = [name for name in now if now[name] is not None and before.get(name) != now[name]]
        if other:
            return Foreign(self.labels, f"exists, but was made with other {' and '.join(other)}")
        for path in (path for path in self.all if path.exists()):
            if sha256_of(path) != record["files"].get(self.key(path)):
                return Foreign(path, "exists, but was changed after it was written")
        return Done(record) if all(path.exists() for path in self.all) else Missing()


def outputs_of(labels: Path, *, probabilities: bool = False, dicom_seg: bool = False) -> Outputs:
    """Return the files beside a label file: `X.json`, `X.dcm`, and `tumor_probability/X.nii.gz` in its folder.

    Probabilities have their own folder, so that a folder of predictions holds label files only.
    """
    if not labels.name.endswith(FILE_ENDINGS):
        raise InputError(f"--out {labels}: expected a name that ends in .nii.gz for the labels of one scan")
    if dicom_seg:
        require("highdicom", "dicom")  # before hours of work, not after
    folder, stem = labels.parent, stem_of(labels)
    return Outputs(
        labels,
        folder / f"{stem}.json",
        folder / "tumor_probability" / f"{stem}.nii.gz" if probabilities else None,
        folder / f"{stem}.dcm" if dicom_seg else None,
    )


def write_outputs(
    outputs: Outputs, volume: Volume, labels: np.ndarray, percent: np.ndarray | None, content: Mapping[str, Any]
) -> dict[str, Any]:
    """Write all wanted files, each whole or not at all, and return the record: `content` and the files' checksums.

    labels, percent: uint8 [z, y, x] on the volume's grid. The record is written first, without checksums, and again
    before the labels get their name, so that a killed process leaves nothing that looks finished or foreign. If one
    file cannot be written, none is left.
    """
    record = {"program": f"{PROGRAM} {code_version()}", **content, "files": {}}
    write_json(outputs.record, record)
    try:
        if outputs.percent is not None:
            if percent is None:
                raise ValueError(f"no percentages for {outputs.percent}")
            write_percent(percent, volume.source, outputs.percent)
        if outputs.seg is not None:
            from data_prep.dicom.seg_writer import write_dicom_seg

            write_dicom_seg(labels, volume, outputs.seg, algorithm_name=PROGRAM, algorithm_version=code_version())
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


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        ours = record["program"].split()[0] == PROGRAM and isinstance(record["files"], dict)
        return record if ours else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
