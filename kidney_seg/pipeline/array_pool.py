"""Arrays that TensorFlow takes without a copy, in memory that is used again."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from threading import Lock

import numpy as np

_ALIGNMENT = 64  # bytes: an array at another address TensorFlow copies
_OURS = 3  # references to a free room: the list's, the loop's, and that of the call that counts them


class ArrayPool:
    """Makes arrays; when nobody refers to one any more, its memory goes into another one of its size.

    Fresh memory costs more than what is written into it: the system clears it page by page.
    """

    def __init__(self) -> None:
        self._rooms: dict[int, list[np.ndarray]] = defaultdict(list)
        self._lock = Lock()

    def empty(self, shape: Sequence[int], dtype: type) -> np.ndarray:
        """Return an array of this shape and type, its values not set. Any thread may ask."""
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        with self._lock:
            for room in self._rooms[count]:
                if sys.getrefcount(room) == _OURS:
                    break
            else:
                room = np.empty(count + _ALIGNMENT, np.uint8)
                self._rooms[count].append(room)
            first = -room.__array_interface__["data"][0] % _ALIGNMENT
            return room[first : first + count].view(dtype).reshape(shape)
