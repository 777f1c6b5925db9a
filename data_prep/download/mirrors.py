"""Another place to download from: a folder that this command made, or one like it, on a server or a disk."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from data_prep.download.answers import Refused
from data_prep.download.records import CHECKSUMS, CHECKSUMS_FORMAT, PROVENANCE, Known, read_checksums
from data_prep.download.sources import Source
from data_prep.download.transfer import Retry, fetch
from data_prep.errors import InputError
from data_prep.files.json_files import parse_json

_FORM = "expected an address such as https://server/KITS or file:///data/KITS"


@dataclass(frozen=True)
class Mirror:
    """A mirror's address, and what its own records tell; nothing if it has none.

    files: its table of checksums, by names such as `case_00000/imaging.nii.gz`.
    """

    address: str
    files: Mapping[str, Known] = field(default_factory=dict)

    def bytes_of(self, name: str) -> int | None:
        """Return the size of a file, None if it is not known before it is fetched."""
        if name in self.files:
            return self.files[name].bytes
        try:
            return (_folder(self.address) / name).stat().st_size if self.address.startswith("file:") else None
        except OSError:
            return 0  # not there: nothing is written


def open_mirror(address: str, source: Source, retry: Retry) -> Mirror:
    """Return the mirror at `address`, with its records.

    InputError for an address of another form, a folder that is not there, and a mirror of another data set.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https", "file") or (parts.scheme != "file") != bool(parts.hostname):
        raise InputError(f"--mirror {address}: {_FORM}")
    if parts.scheme == "file" and not _folder(address).is_dir():
        raise InputError("no such folder; " + _FORM, _folder(address), "no_such_folder")
    dataset = _read(address, PROVENANCE, retry).get("dataset", source.name)
    if dataset != source.name:
        raise InputError(f"--mirror {address}: holds {str(dataset)[:40]}; expected {source.name}")
    listed = _read(address, CHECKSUMS, retry)
    try:
        return Mirror(address, read_checksums(listed) if CHECKSUMS_FORMAT in listed else {})
    except ValueError as error:
        raise InputError(f"--mirror {address}: its {CHECKSUMS} is no table of checksums ({error})") from None


def _folder(address: str) -> Path:
    return Path(url2pathname(urlsplit(address).path))


def _read(address: str, name: str, retry: Retry) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / name
        try:
            fetch(f"{address.rstrip('/')}/{name}", part, Retry(min(retry.tries, 3), retry.pause_s, retry.stop))
            content = parse_json(part.read_bytes())
        except (Refused, ValueError):
            return {}
    return content if isinstance(content, dict) else {}
