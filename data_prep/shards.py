"""A part of a list of cases, for job arrays: shard I of N; and how the parts of a cache become one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from data_prep.cache import CacheEntry, entry_from
from data_prep.command import InputError
from data_prep.files import read_json, write_json
from data_prep.grid import GridSettings

PARTS = ".shards"  # folder in the cache: what each shard has built, until all have
Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Shard `index`, from 0, of `count`: every item belongs to one shard, whatever its neighbors do."""

    index: int
    count: int

    def pick(self, items: Sequence[Item]) -> list[Item]:
        """Return this shard's items, in their order: every `count`-th, from the `index`-th on. May be none.

        Give the same items in the same order to all shards.

        >>> [Shard(index, 3).pick("abcdefg") for index in range(3)]
        [['a', 'd', 'g'], ['b', 'e'], ['c', 'f']]
        """
        return list(items[self.index :: self.count])

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse(text: str) -> Shard:
    """Read `I/N` as commands take it, I from 0 to below N: `--shard $SLURM_ARRAY_TASK_ID/20` with `--array=0-19`.

    InputError for anything else.

    >>> parse("2/5")
    Shard(index=2, count=5)
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise InputError(f"--shard {text}: expected I/N, I from 0 to below N, such as 0/4")
    return Shard(int(match[1]), int(match[2]))


def join_parts(
    cache: Path, settings: GridSettings, cases: Sequence[str], shard: Shard, entries: Sequence[CacheEntry]
) -> list[CacheEntry] | None:
    """Note what a shard has built; return the entries of all shards if it is the last one, else None.

    `cases`: the names of all shards' cases. What shards of another list, of other settings or another number have
    noted does not count. Two that end at once may both be the last: they get the same entries.
    """
    told = json.dumps([sorted(cases), asdict(settings)])
    build = hashlib.sha256(told.encode()).hexdigest()
    paths = [cache / PARTS / f"{index}-of-{shard.count}.json" for index in range(shard.count)]
    write_json(paths[shard.index], {"build": build, "cases": [asdict(entry) for entry in entries]})
    joined: list[CacheEntry] = []
    for path in paths:
        if not path.is_file():
            return None
        part = read_json(path, "list of a shard's cases")
        if part.get("build") != build:
            return None
        joined += [entry_from(case, case) for case in part["cases"]]
    return joined
