"""The files of a download folder that describe it: `checksums.json`, `provenance.json` and the license."""

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
_UNKNOWN = "of an unknown revision"
CHECKSUMS_FORMAT, _PROVENANCE_FORMAT = "kidney_seg_checksums", "kidney_seg_provenance"


@dataclass(frozen=True)
class Known:
    """A verified file: size in bytes, SHA-256, size in voxels (x fastest) and where it came from.

    labels_commit: of labels, the commit of the challenge's repository that they are from; empty if not known.
    """

    bytes: int
    sha256: str
    voxels: tuple[int, int, int]
    address: str
    labels_commit: str = ""


def is_accepted(folder: str | Path) -> bool:
    """Return whether the license was accepted for a folder: it is written there."""
    return has_text(b"CC BY-NC-SA")(Path(folder) / LICENSE_FILE)


class Records:
    """The records of a folder; `add` may be called by several threads."""

    def __init__(self, folder: Path, source: Source) -> None:
        """Read the records of a folder; InputError if it holds another data set, or foreign files of their names."""
        self.folder, self.source = folder, source
        self._lock = threading.Lock()
        check_outputs([folder / CHECKSUMS], ours=has_keys(CHECKSUMS_FORMAT))
        check_outputs([folder / PROVENANCE], ours=has_keys(_PROVENANCE_FORMAT))
        self.files: dict[str, Known] = {}
        if (folder / CHECKSUMS).exists():
            try:
                self.files = read_checksums(read_json(folder / CHECKSUMS, "table of checksums"))
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
        return is_accepted(self.folder)

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

    def drop(self, *names: str) -> None:
        """Forget files that turned out not to fit."""
        for name in names:
            self.files.pop(name, None)
        self._write()

    def _write(self) -> None:
        listed = {name: asdict(known) for name, known in sorted(self.files.items())}
        write_json(self.folder / CHECKSUMS, {CHECKSUMS_FORMAT: 1, "files": listed})
        write_json(self.folder / PROVENANCE, {_PROVENANCE_FORMAT: 1} | provenance(self.source, self.files))


def read_checksums(content: Any) -> dict[str, Known]:
    """Return the files of a `checksums.json`; ValueError for other content."""
    listed = content.get("files") if isinstance(content, dict) and CHECKSUMS_FORMAT in content else None
    return typed(dict[str, Known], listed)


def provenance(source: Source, files: Mapping[str, Known]) -> dict[str, Any]:
    """Return the content of `provenance.json`: data set, revision of the labels, addresses and commit by case.

    `labels_commit` and `labels_revision` of the data set are null unless all labels are of that commit.
    """
    cases: dict[str, dict[str, str | None]] = {}
    commits = set()
    for name, known in sorted(files.items()):
        case, _, file = name.partition("/")
        cases.setdefault(case, {})[file] = known.address
        if file == source.label_file:
            cases[case]["labels_commit"] = known.labels_commit or None
            commits.add(known.labels_commit)
    (commit,) = commits if len(commits) == 1 else ("",)
    return {
        "dataset": source.name,
        "labels_commit": commit or None,
        "labels_revision": source.revision if commit == source.commit else None,
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
    commit, revision = known.get("labels_commit"), known.get("labels_revision")
    told = f"{revision}, commit {str(commit)[:7]}" if revision else f"commit {str(commit)[:7]}" if commit else _UNKNOWN
    text = f"labels: {told}"
    return Origin(known["dataset"], text, origin.first_weights)
