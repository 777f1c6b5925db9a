"""Part I of N of a list of cases, for job arrays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from data_prep.errors import InputError

PARTS = ".shards"  # folder for the results of finished shards, until all shards are finished
Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Shard `index`, from 0, of `count`: every item belongs to exactly one shard."""

    index: int
    count: int

    def pick(self, items: Sequence[Item]) -> list[Item]:
        """Return this shard's items in their order: every `count`-th, from the `index`-th on; may be empty.

        All shards must be given the same items in the same order.

        >>> [Shard(index, 3).pick("abcdefg") for index in range(3)]
        [['a', 'd', 'g'], ['b', 'e'], ['c', 'f']]
        """
        return list(items[self.index :: self.count])

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse(text: str) -> Shard:
    """Parse `I/N`, I from 0 to below N, such as `--shard $SLURM_ARRAY_TASK_ID/20` with `--array=0-19`.

    InputError for anything else.

    >>> parse("2/5")
    Shard(index=2, count=5)
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise InputError(f"--shard {text}: expected I/N, I from 0 to below N, such as 0/4")
    return Shard(int(match[1]), int(match[2]))
