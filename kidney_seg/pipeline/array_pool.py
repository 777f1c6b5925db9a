"""Arrays that TensorFlow takes without a copy, in memory that is used again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

_ALIGNMENT = 64  # bytes; TensorFlow copies an array at any other address


class _Lease:
    """Owner of the memory of one array. All views of the array refer to it; when the last one ends, so does it."""

    def __init__(self, block: np.ndarray, free: deque[np.ndarray], shape: Sequence[int], dtype: type):
        self._block, self._free = block, free
        address = block.__array_interface__["data"][0]
        place = (address + -address % _ALIGNMENT, False)
        self.__array_interface__ = {"data": place, "shape": tuple(shape), "typestr": np.dtype(dtype).str, "version": 3}

    def __del__(self) -> None:
        self._free.append(self._block)


class ArrayPool:
    """Makes arrays; once nothing refers to an array any more, its memory is used for another one of its size.

    New memory costs more than what is written into it: the system clears it page by page. Any thread may ask.
    """

    def __init__(self) -> None:
        self._free: dict[int, deque[np.ndarray]] = {}

    def empty(self, shape: Sequence[int], dtype: type) -> np.ndarray:
        """Return an uninitialized array of this shape and type."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        free = self._free.setdefault(size, deque())
        try:
            block = free.pop()
        except IndexError:
            block = np.empty(size + _ALIGNMENT, np.uint8)
        return np.asarray(_Lease(block, free, shape, dtype))
