"""The labelled cases of a set, with the source files at whose resolution they are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.cache.manifest import SOURCES, Manifest
from data_prep.errors import InputError


@dataclass(frozen=True)
class HeldOut:
    """A labelled case that is scored at the resolution of its source files."""

    case: str
    patient: str
    image: Path  # a file, or the folder of a DICOM series
    labels: Path


def held_out_cases(manifest: Manifest, split: Mapping[str, Sequence[str]], part: str = "test") -> list[HeldOut]:
    """Return the labelled cases of a set. InputError if a source file does not exist; no file is read."""
    patients = set(split[part])
    cases = []
    for entry in manifest.entries:
        if not (entry.labelled and entry.patient in patients):
            continue
        if entry.image_path is None or entry.label_path is None:
            raise InputError(
                f"does not name the files of {part} case {entry.case}, which is scored at their resolution; copy this "
                "file along with the cache, or build the cache again",
                path=manifest.root / SOURCES,
            )
        case = HeldOut(entry.case, entry.patient, Path(entry.image_path), Path(entry.label_path))
        for path in (case.image, case.labels):
            if not path.exists():
                raise InputError(f"no such file; {part} case {case.case} was built from it; restore it", path=path)
        cases.append(case)
    return cases
