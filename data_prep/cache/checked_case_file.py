"""Open a case's HDF5 file after checking that it holds only the expected datasets, those of `write_case`.

HDF5 follows links and external storage to any file of the machine, and allocates what a header promises. A cache from
elsewhere must not use that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import h5py

_KINDS = {"image": np.dtype("<i2"), "label": np.dtype(np.uint8), "pixels": np.dtype("<i8")}
_LARGEST_RATIO = 1032  # deflate makes at most so many bytes from one


@contextmanager
def opened(path: str | Path) -> Iterator[h5py.File]:
    """Open a regular file; OSError for any other, such as a pipe, which would be waited for."""
    import h5py

    if not os.path.isfile(path):
        raise OSError("it is no regular file")
    with h5py.File(path, "r") as file:
        yield file


def check_layout(file: h5py.File) -> None:
    """Raise ValueError unless the file holds `image` and at most `label` and `pixels`, each stored in it and sound.

    Types and shapes are those of docs/explanation/cache_format.md, and no dataset is larger than the file can hold.
    """
    import h5py

    most = os.path.getsize(file.filename) * _LARGEST_RATIO
    names = sorted(file)
    if "image" not in names or not set(names) <= set(_KINDS):
        raise ValueError(f"it holds {', '.join(map(ascii, names[:5])) or 'nothing'}; expected image, label and pixels")
    shapes: dict[str, Any] = {}
    for name in names:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link to elsewhere")
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
            raise ValueError(f"{name} is no dataset stored in this file")
        if dataset.dtype != _KINDS[name] or dataset.size is None:
            raise ValueError(f"{name} has the type {dataset.dtype}; expected {_KINDS[name]}")
        if dataset.size * dataset.dtype.itemsize > most:
            raise ValueError(f"{name} claims {dataset.shape} values, more than the file can hold")
        shapes[name] = dataset.shape
    image = shapes["image"]
    if len(image) != 3 or shapes.get("label", image) != image or shapes.get("pixels", (image[0], 3)) != (image[0], 3):
        raise ValueError(f"its shapes do not fit each other: {shapes}")
