"""Stored values to HU, rounded and clipped to int16, and to labels, renamed or refused.

Nothing is cut to a window here: the network's window is its first layer.
"""

from __future__ import annotations

import numpy as np

from data_prep.errors import InputError, Note
from data_prep.formats.image_source import VoxelSource
from data_prep.labels import BACKGROUND, CLASS_NAMES, IDS, LARGEST_LABEL, is_named, label_of

_HU = np.iinfo(np.int16)
_LARGEST_STEP = 0.02  # of labels that were saved as scaled whole numbers; nibabel: 3 / 255 or less
_BAD = 255
_NAMES = (CLASS_NAMES[BACKGROUND], *IDS)


class HounsfieldReader:
    """Writes slabs of stored values as int16 HU: rounds them, clips them, and counts what it clips."""

    def __init__(self) -> None:
        self._clipped = 0

    def __call__(self, values: np.ndarray, out: np.ndarray) -> None:
        """Write values [k, j, i] to `out` of the same shape."""
        if np.can_cast(values.dtype, np.int16):
            out[...] = values
            return
        for plane, out_plane in zip(values, out, strict=True):  # plane by plane, because doubles take much memory
            whole = np.rint(plane.astype(np.float64))
            if whole.min() < _HU.min or whole.max() > _HU.max:
                self._clipped += int(np.count_nonzero((whole < _HU.min) | (whole > _HU.max)))
            out_plane[...] = np.clip(whole, _HU.min, _HU.max)

    def notes(self) -> tuple[str, ...]:
        """Return what was decided."""
        clipped = f"{self._clipped} values beyond {_HU.min} to {_HU.max} HU are clipped to these"
        return (Note(clipped),) if self._clipped else ()


class LabelReader:
    """Writes slabs of stored values as uint8 labels, and collects the values that are none."""

    def __init__(self, source: VoxelSource):
        self._path, self._dtype, self._segments = source.path, source.dtype, source.segments
        self._step = source.step if source.step < _LARGEST_STEP else 0.0
        self._scaled = bool(source.step)
        self._labels = _labels_by_number(source)
        self._unnamed = _unnamed(source)
        self._taken: set[int] = set()
        self._bad: list[float] = []  # the smallest six
        self._rounded = False

    def __call__(self, values: np.ndarray, out: np.ndarray) -> None:
        """Write values [k, j, i] to `out` of the same shape."""
        whole = values
        if values.dtype.kind == "f":
            whole = np.rint(values)
            off = np.abs(values - whole)
            self._rounded |= bool((off > 0).any())
            valid = off <= self._step
        else:
            valid = np.ones(values.shape, bool)
        valid &= (whole >= 0) & (whole < len(self._labels))
        self._taken |= {number for number in self._unnamed - self._taken if (whole == number).any()}
        labels = self._labels[np.where(valid, whole, 0).astype(np.intp)]
        valid &= labels != _BAD
        if valid.all():
            out[...] = labels
        else:
            self._bad = sorted({*self._bad, *np.unique(values[~valid])[:6].tolist()})[:6]

    def notes(self) -> tuple[str, ...]:
        """Return what was decided; InputError if a value is no label."""
        for segment in self._segments:
            if segment.number in self._bad and is_named(segment):
                found = f"segment {segment.number}, {segment.name[:40]!a}, is none of kidney, tumor and cyst"
                expected = "expected only these by name and code; remove or rename it"
                raise InputError(f"{found}; {expected}", self._path, "label_values")
        if self._bad:
            found = ", ".join(f"{value:g}" for value in self._bad[:5]) + (", ..." if len(self._bad) > 5 else "")
            expected = "expected only 0 background, 1 kidney, 2 tumor and 3 cyst; is this a label map?"
            raise InputError(f"label values {found} found; {expected}", self._path, "label_values")
        notes = []
        if renamed := [f"{n} is {_NAMES[label]}" for n, label in enumerate(self._labels) if label not in (n, _BAD)]:
            notes.append(Note(f"numbers of labels by the names of their segments: {', '.join(renamed[:6])}"))
        if taken := [f"{n} is {_NAMES[n]}" for n in sorted(self._taken)]:
            notes.append(Note(f"numbers of labels without a name, beside named ones, as usual: {', '.join(taken)}"))
        if self._rounded:
            notes.append(Note("labels were saved with a slope (scl_slope) and are rounded to whole numbers"))
        elif self._dtype.kind == "f" and not self._scaled:
            kind = f"{8 * self._dtype.itemsize}-bit float"
            notes.append(Note(f"labels are stored as {kind}; the values are whole", "label_type"))
        return tuple(notes)


def _unnamed(source: VoxelSource) -> set[int]:
    """Return the numbers of labels that have no name though others have one; none if none has."""
    named = {segment.number for segment in source.segments if is_named(segment)}
    return set(range(1, LARGEST_LABEL + 1)) - named if named else set()


def _labels_by_number(source: VoxelSource) -> np.ndarray:
    """Return the label of each number, by the names of segments where there are any; `_BAD` for one that is none.

    InputError if a number has the names of two structures.
    """
    named = {segment.number: segment for segment in source.segments if is_named(segment)}
    table = np.full(max([LARGEST_LABEL, *named]) + 1, _BAD, np.uint8)
    table[: LARGEST_LABEL + 1] = np.arange(LARGEST_LABEL + 1)
    for number, segment in named.items():
        label = label_of(segment)
        for other in source.segments:
            if other.number == number and is_named(other) and label_of(other) != label:
                found = f"number {number} is named {other.name[:40]!a} and {segment.name[:40]!a}"
                expected = "expected one structure for each number; overlapping segments: export one label map"
                raise InputError(f"{found}; {expected}", source.path, "label_values")
        table[number] = _BAD if label is None else label
    return table
