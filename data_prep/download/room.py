"""Whether the disk has room for a download, asked before it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from data_prep.download.mirrors import Mirror
from data_prep.download.sources import MEGABYTES_PER_CASE
from data_prep.errors import InputError


def free_bytes(out: Path) -> int:
    """Return the free bytes of the disk on which `out` is or would be made."""
    return shutil.disk_usage(next(place for place in (out.absolute(), *out.absolute().parents) if place.is_dir())).free


def refuse_small_disk(out: Path, names: Sequence[str], mirror: Mirror | None) -> None:
    """Raise InputError if the files that are not here need more than is free, by their sizes or the usual one."""
    absent = [name for name in names if not (out / name).exists()]
    sizes = {name: mirror.bytes_of(name) if mirror else None for name in absent}
    usual = len({name.partition("/")[0] for name, size in sizes.items() if size is None}) * MEGABYTES_PER_CASE * 10**6
    needed, free = usual + sum(size or 0 for size in sizes.values()), free_bytes(out)
    if needed > free:
        cases = len({name.partition("/")[0] for name in absent})
        detail = f"{cases} cases need about {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free"
        raise InputError(f"{detail}; free some space, or choose fewer by --cases", out, "disk_space")
