"""What the folder of a download knows of its files: `checksums.json`, `provenance.json` and the license."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.download.sources import SOURCES, Source
from data_prep.errors import InputError
from data_prep.files.atomic import write_file
from data_prep.files.json_files import read_json, write_json
from data_prep.files.outputs import check_outputs, has_keys, has_text
from data_prep.files.typed import typed
from data_prep.origin import Origin

CHECKSUMS, PROVENANCE, LICENSE_FILE = "checksums.json", "provenance.json", "LICENSE.txt"
_CHECKSUMS_FORMAT, _PROVENANCE_FORMAT = "kidney_seg_checksums", "kidney_seg_provenance"


@dataclass(frozen=True)
class Known:
    """A verified file: size in bytes, SHA-256, size in voxels (x fastest) and where it came from."""

    bytes: int
    sha256: str
    voxels: tuple[int, int, int]
    address: str


class Records:
    """The records of a folder; `add` may be called by several threads."""

    def __init__(self, folder: Path, source: Source) -> None:
        """Read the records of a folder; InputError if it holds another data set, or foreign files of their names."""
        self.folder, self.source = folder, source
        self._lock = threading.Lock()
        check_outputs([folder / CHECKSUMS], ours=has_keys(_CHECKSUMS_FORMAT))
        check_outputs([folder / PROVENANCE], ours=has_keys(_PROVENANCE_FORMAT))
        self.files: dict[str, Known] = {}
        if (folder / CHECKSUMS).exists():
            listed = read_json(folder / CHECKSUMS, "table of checksums")["files"]
            try:
                self.files = typed(dict[str, Known], listed)
            except ValueError as error:
                detail = f"not a table of checksums ({error}); remove it, and all files are verified again"
                raise InputError(detail, folder / CHECKSUMS) from None
        if (folder / PROVENANCE).exists():
            found = read_json(folder / PROVENANCE, "provenance").get("dataset")
            if found != source.name:
                raise InputError(f"holds {found}; expected {source.name}, or a folder of its own for each", folder)

    @property
    def accepted(self) -> bool:
        """Whether the license was accepted before."""
        return has_text(b"CC BY-NC-SA")(self.folder / LICENSE_FILE)

    def accept(self) -> None:
        """Write license and citation, and what is known of the revision, beside the data."""
        check_outputs([self.folder / LICENSE_FILE], ours=has_text(b"CC BY-NC-SA"))
        write_file(self.folder / LICENSE_FILE, self.source.license.encode())
        self._write()

    def add(self, name: str, known: Known) -> None:
        """Record a verified file, such as `case_00000/imaging.nii.gz`."""
        with self._lock:
            self.files[name] = known
            self._write()

    def _write(self) -> None:
        listed = {name: asdict(known) for name, known in sorted(self.files.items())}
        write_json(self.folder / CHECKSUMS, {_CHECKSUMS_FORMAT: 1, "files": listed})
        write_json(self.folder / PROVENANCE, {_PROVENANCE_FORMAT: 1} | provenance(self.source, self.files))


def provenance(source: Source, files: Mapping[str, Known]) -> dict[str, Any]:
    """Return the content of `provenance.json`: data set, commit and revision of the labels, addresses by case."""
    cases: dict[str, dict[str, str]] = {}
    for name, known in sorted(files.items()):
        case, _, file = name.partition("/")
        cases.setdefault(case, {})[file] = known.address
    return {
        "dataset": source.name,
        "labels_commit": source.commit,
        "labels_revision": source.revision,
        "license": "CC BY-NC-SA 4.0",
        "citation": source.citation,
        "cases": cases,
    }


def read_provenance(folder: str | Path) -> dict[str, Any] | None:
    """Return the content of a folder's `provenance.json`; None if it has none, or one of another program."""
    path = Path(folder) / PROVENANCE
    return read_json(path, "provenance") if has_keys(_PROVENANCE_FORMAT, "dataset")(path) else None


def downloaded(folder: str | Path, origin: Origin) -> Origin:
    """Return the origin of KiTS patients with data set, revision and commit of their labels, as a download knows them.

    A folder that was not downloaded by this project gives `origin` itself.
    """
    known = read_provenance(folder)
    if known is None or known["dataset"] not in SOURCES:
        return origin
    text = f"labels: {known.get('labels_revision')}, commit {str(known.get('labels_commit'))[:7]}"
    return Origin(known["dataset"], text, origin.first_weights)
