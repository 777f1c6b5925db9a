"""The files of one prediction (labels, their JSON record, more on request), and whether they are already made.

In a folder, a scan's labels are NAME.nii.gz, and NAME is by `data_prep.scans.names`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.errors import InputError, require
from data_prep.files.atomic import replacing
from data_prep.files.checksums import sha256_of
from data_prep.files.json_files import write_json
from data_prep.files.outputs import check_outputs
from data_prep.formats.image_source import FILE_ENDINGS, stem_of
from data_prep.formats.probability_map import write_percent
from data_prep.version import code_version
from data_prep.volume import is_label_file, write_labels
from kidney_seg.postprocess.surfaces import surface_paths, surfaces_of, write_stl
from kidney_seg.results.record import PICTURES, PROGRAM, read_record, signature

if TYPE_CHECKING:
    from data_prep.geometry.volume import Volume
    from data_prep.scans import Scan

SEG = ".dcm"  # of --out: a DICOM SEG beside the labels


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
    replaceable: bool = field(default=True, compare=False)  # with `--force`: our record names it, or it holds labels

    @property
    def error(self) -> InputError:
        """The error of a caller that must not replace it."""
        remedy = "choose another --out, or " + ("replace it with --force" if self.replaceable else "move it away")
        return InputError(f"{self.reason}; {remedy}", path=self.path, code="exists" if self.replaceable else "foreign")


@dataclass(frozen=True)
class Outputs:
    """The files of one scan; `percent` and `seg` are None, and `surfaces` (by structure) empty, if not wanted."""

    labels: Path
    record: Path
    percent: Path | None = None
    seg: Path | None = None
    surfaces: Mapping[str, Path] = field(default_factory=dict, hash=False)

    @property
    def all(self) -> list[Path]:
        """The wanted files except the record."""
        files = (self.labels, self.percent, *self.surfaces.values(), self.seg)
        return [path for path in files if path is not None]

    @property
    def name(self) -> str:
        """The case."""
        return stem_of(self.labels)

    @property
    def picture(self) -> Path:
        """The scan's picture, which a batch draws for its page; not named in the record."""
        return self.labels.parent / PICTURES / f"{self.name}.jpg"

    def key(self, path: Path) -> str:
        """Return a file's name in the record: its path relative to the labels' folder."""
        return path.relative_to(self.labels.parent).as_posix()

    def state(self, made_by: Mapping[str, Any], image: Mapping[str, Any] | None = None) -> Missing | Done | Foreign:
        """Return what exists of the files, compared with what `made_by` and, if given, `image` would make."""
        existing = [path for path in (*self.all, self.record) if path.exists()]
        if not existing:
            return Missing()
        record = read_record(self.record)
        named = () if record is None else (self.record, *(self.labels.parent / key for key in record["files"]))
        if unnamed := [path for path in existing if path not in named]:
            why = "records how it was made" if record is None else "names it"
            replaceable = unnamed == [self.labels] and is_label_file(self.labels)
            return Foreign(unnamed[0], f"exists, and no {self.record.name} {why}", replaceable)
        assert record is not None  # it names them
        if not (record["files"] and self.labels.exists()):
            return Missing()
        before, now = ({**record.get("made_by", {}), "image": record.get("image")}, {**made_by, "image": image})
        other = [name for name in now if now[name] is not None and before.get(name) != now[name]]
        if other:
            return Foreign(self.labels, f"exists, but was made with other {' and '.join(other)}")
        for path in (path for path in self.all if path.exists()):
            if sha256_of(path) != record["files"][self.key(path)]:
                return Foreign(path, "exists, but was changed after it was written")
        return Done(record) if all(path.exists() for path in self.all) else Missing()


def outputs_beside(
    labels: Path, *, probabilities: bool = False, dicom_seg: bool = False, surfaces: str | None = None
) -> Outputs:
    """Return the files beside a label file: `X.json`, `X.dcm`, `tumor_probability/X.nii.gz`, `surfaces/X_kidney.stl`.

    Probabilities and surfaces have their own folders, so that a folder of predictions holds label files only.
    """
    if not labels.name.endswith(FILE_ENDINGS):
        raise InputError(f"--out {labels}: expected a name that ends in .nii.gz for the labels of one scan")
    if dicom_seg:
        require("highdicom", "dicom")  # before hours of work, not after
    if surfaces:
        require("skimage", "report")
    folder, stem = labels.parent, stem_of(labels)
    return Outputs(
        labels,
        folder / f"{stem}.json",
        folder / "tumor_probability" / f"{stem}.nii.gz" if probabilities else None,
        folder / f"{stem}.dcm" if dicom_seg else None,
        surface_paths(labels, stem, surfaces) if surfaces else {},
    )


def outputs_by_options(
    scans: Sequence[Scan], single: bool, arguments: argparse.Namespace
) -> tuple[list[Outputs], Path | None]:
    """Return the files of each scan, and their folder; None for a single label file.

    InputError if several scans are to become one file.
    """
    out, given = Path(arguments.out), vars(arguments)
    seg = given.get("dicom_seg", False)
    is_file = out.name.endswith((*FILE_ENDINGS, SEG)) and not (out.is_dir() and len(scans) > 1)
    if is_file and len(scans) > 1:
        names = ", ".join(scan.name for scan in scans[:3]) + ", ..." * (len(scans) > 3)
        raise InputError(
            f"--out {out}: is one file, found {len(scans)} scans ({names}); give a folder, such as "
            f"--out {out.parent / 'labels'}, or choose one scan by its folder or by --series KEY"
        )
    if is_file or (single and out.suffix and not out.is_dir()):
        labels = out.with_suffix(FILE_ENDINGS[0]) if out.suffix == SEG else out
        files, seg, folder = [labels], seg or out.suffix == SEG, None
    else:
        if out.is_file():
            raise InputError(f"--out {out}: is a file, expected a folder for the labels of {len(scans)} scans")
        files, folder = [out / f"{scan.name}{FILE_ENDINGS[0]}" for scan in scans], out
    more = {"probabilities": given.get("probabilities", False), "surfaces": given.get("surfaces"), "dicom_seg": seg}
    return [outputs_beside(file, **more) for file in files], folder


def check_all(outputs: Iterable[Outputs], inputs: Iterable[str | Path]) -> None:
    """Raise InputError unless all files can be made and are none of `inputs`, see `check_outputs`."""
    files = [path for one in outputs for path in (*one.all, one.record)]
    check_outputs(files, inputs, ours=lambda path: True)  # `Outputs.state` knows which are ours


def write_outputs(
    outputs: Outputs, volume: Volume, labels: np.ndarray, percent: np.ndarray | None, content: Mapping[str, Any]
) -> dict[str, Any]:
    """Write all wanted files, each whole or not at all, and return the record: `content` and the files' checksums.

    labels, percent: uint8 [z, y, x] on the volume's grid. The labels are written first, and stay if another file
    cannot be written. The record names every file before it gets its name, so that a killed process leaves nothing that
    looks finished or foreign.
    """
    record = {"program": signature(), **content, "files": {}}
    files: dict[str, str] = record["files"]

    def write(path: Path, write_one: Callable[[Path], None]) -> None:
        with replacing(path) as temporary:
            write_one(temporary)
            files[outputs.key(path)] = sha256_of(temporary)
            for stale in outputs.all:  # of other settings
                if outputs.key(stale) not in files:
                    stale.unlink(missing_ok=True)
            write_json(outputs.record, record)

    write(outputs.labels, lambda path: write_labels(labels, volume.source, path))
    if outputs.percent is not None:
        if percent is None:
            raise ValueError(f"no percentages for {outputs.percent}")
        write(outputs.percent, lambda path: write_percent(percent, volume.source, path))
    if outputs.surfaces:
        meshes = surfaces_of(labels, volume.source)
        for name, path in outputs.surfaces.items():
            write(path, partial(write_stl, meshes[name], name))
    if outputs.seg is not None:
        from data_prep.dicom.seg_writer import write_dicom_seg

        by = {"algorithm_name": PROGRAM, "algorithm_version": code_version()}
        write(outputs.seg, lambda path: write_dicom_seg(labels, volume, path, **by))
    return record
