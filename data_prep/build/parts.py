"""Join the parts of a cache that shards have built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from data_prep.cache.manifest import CacheEntry, entry_from
from data_prep.files.json_files import read_json, write_json
from data_prep.geometry.network_grid import GridSettings
from data_prep.parallel.shards import PARTS, Shard


def join_parts(
    cache: Path, settings: GridSettings, cases: Sequence[str], shard: Shard, entries: Sequence[CacheEntry]
) -> list[CacheEntry] | None:
    """Save the entries of a shard's cases; return the entries of all shards if all are saved, else None.

    What shards of other cases (`cases`: the names of all shards' cases), settings or another number have saved does not
    count. Two shards that end at the same time may both get all entries; they are the same.
    """
    build = hashlib.sha256(json.dumps([sorted(cases), asdict(settings)]).encode()).hexdigest()
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
