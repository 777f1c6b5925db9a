"""Compressed slices inside a case's HDF5 file, written and read without HDF5's own filters.

Each slice is one chunk with the filters `shuffle` and `gzip`, as `docs/explanation/cache_format.md` says, which any
HDF5 reads. HDF5 itself takes four times as long to write them, most of the time of a build, and lets only one thread
read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cache.checked_case_file import check_layout, opened
from data_prep.errors import InputError, raise_if_out_of_memory

_NAMES: dict[str, np.dtype] = {"image": np.dtype("<i2"), "label": np.dtype(np.uint8)}
_FILTERS = [1, 2]  # HDF5's numbers of deflate and shuffle


def hdf5_lock() -> Any:
    """Return h5py's own lock, which its calls of single chunks do not take: beside another thread's, HDF5 crashes."""
    from h5py._objects import phil

    return phil


def write_slices(file: Any, name: str, voxels: np.ndarray) -> None:
    """Write voxels [slices, y, x] as dataset `name` of an open HDF5 file (h5py.File), one chunk per slice."""
    from isal import isal_zlib

    options = {"chunks": (1, *voxels.shape[1:]), "compression": "gzip", "compression_opts": 1, "shuffle": True}
    dataset = file.create_dataset(name, voxels.shape, voxels.dtype, **options)
    for index, plane in enumerate(voxels):
        packed = isal_zlib.compress(_shuffled(plane), 2)
        with hdf5_lock():
            dataset.id.write_direct_chunk((index, 0, 0), packed)


def _shuffled(plane: np.ndarray) -> bytes:
    # all first (low) bytes, then all second ones
    bits = np.ascontiguousarray(plane).view(f"u{plane.itemsize}")
    return b"".join((bits >> 8 * place).astype(np.uint8).tobytes() for place in range(plane.itemsize))


@dataclass(frozen=True)
class PackedSlices:
    """Places of a labelled case's slices in its file; any thread may read them.

    shape_yx: of a slice. places: per dataset (`image`, `label`) int64 [slices, 2], first byte and number of bytes.
    """

    path: Path
    shape_yx: tuple[int, int]
    places: dict[str, np.ndarray]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a slice's image int16 HU and label uint8 [y, x], after comparing its own checksum (Adler-32).

        InputError if they cannot be read.
        """
        from isal import isal_zlib

        broken: Any = isal_zlib.error  # its stub declares an instance
        found = []
        try:
            with open(self.path, "rb", buffering=0) as file:
                for name, kind in _NAMES.items():
                    first, count = self.places[name][index].tolist()
                    raw = isal_zlib.decompress(os.pread(file.fileno(), count, first))
                    found.append(_unshuffled(np.frombuffer(raw, np.uint8), kind).reshape(self.shape_yx))
        except (OSError, ValueError, broken) as error:
            raise_if_out_of_memory(error, self.path)
            raise InputError(f"slice {index} cannot be read ({error}); build the cache again", path=self.path) from None
        return found[0], found[1]


def _unshuffled(raw: np.ndarray, kind: np.dtype) -> np.ndarray:
    if kind.itemsize == 1:
        return raw
    low, high = raw.reshape(2, -1)
    return (high.astype("<u2") << 8 | low).view(kind)


def find_slices(path: str | Path) -> PackedSlices:
    """Return the places of the slices in a labelled case's HDF5 file.

    InputError if the file cannot be read, has no labels, or was not written by `write_slices`.
    """
    path, places = Path(path), {}
    try:
        with opened(path) as file, hdf5_lock():
            check_layout(file)
            for name, kind in _NAMES.items():
                dataset = file[name]
                made_by = dataset.id.get_create_plist()
                filters = sorted(made_by.get_filter(number)[0] for number in range(made_by.get_nfilters()))
                slices, *shape_yx = dataset.shape
                if (dataset.dtype, dataset.chunks, filters) != (kind, (1, *shape_yx), _FILTERS):
                    raise ValueError(f"{name} has other chunks or filters")
                found = np.zeros((slices, 2), np.int64)

                def note(chunk: Any, found: np.ndarray = found) -> None:
                    if chunk.filter_mask:
                        raise ValueError("a slice has other filters")
                    found[chunk.chunk_offset[0]] = chunk.byte_offset, chunk.size

                dataset.id.chunk_iter(note)
                places[name] = found
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise_if_out_of_memory(error, path)
        raise InputError(f"the case cannot be read ({error}); build the cache again", path=path) from None
    return PackedSlices(path, (shape_yx[0], shape_yx[1]), places)
