"""Slices of labelled cases for training: from memory, or from their cache's files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from data_prep.cache.manifest import CacheEntry, Manifest, open_slices, read_labelled_case
from data_prep.cache.packed_slices import PackedSlices
from data_prep.geometry.slice_neighbors import neighbor_indices

Empty = Callable[[Sequence[int], Any], np.ndarray]  # makes an uninitialized array of a shape and a type
WITH_TUMOR, KIDNEY_ONLY, NEITHER = 0, 1, 2  # kinds of slices, in the order of `DataConfig.shares`


class SliceStore:
    """Slices of labelled cases: up to `memory_gb` are decoded once and kept, the others are read from disk one by one.

    Images have `input_slices` channels, a slice and its neighbors (`neighbor_indices`). Any thread may read.
    """

    def __init__(self, manifest: Manifest, entries: Sequence[CacheEntry], memory_gb: float, input_slices: int = 1):
        self.manifest = manifest
        self.input_slices = input_slices
        self.entries = tuple(entry for entry in entries if entry.labelled)
        self._slices = np.array([entry.slices for entry in self.entries], np.int64)
        size = manifest.settings.size
        ends = np.cumsum(self._slices)
        kept = int(np.searchsorted(ends * size**2 * 3, memory_gb * 1e9, "right"))  # int16 image and uint8 label
        self._starts = np.concatenate([[0], ends[:kept]])  # of each case that is kept, in the arrays below
        self._images = np.empty((self._starts[-1], size, size), np.int16)
        self._labels = np.empty((self._starts[-1], size, size), np.uint8)
        for entry, start in zip(self.entries[:kept], self._starts, strict=False):
            place = slice(start, start + entry.slices)
            self._images[place], self._labels[place] = read_labelled_case(manifest, entry)
        self._kept = kept
        self._on_disk: dict[int, PackedSlices] = {}

    def read(self, case: np.ndarray, position: np.ndarray, empty: Empty = np.empty) -> tuple[np.ndarray, np.ndarray]:
        """Return HU float32 [n, size, size, input_slices] and labels uint8 [n, size, size, 1] of n (case, slice).

        `empty` makes the arrays. InputError if a slice cannot be read from disk.
        """
        size = self.manifest.settings.size
        seen = neighbor_indices(position, self._slices[case][:, None], self.input_slices)
        images = empty((len(case), size, size, self.input_slices), np.float32)
        labels = empty((len(case), size, size, 1), np.uint8)
        kept = case < self._kept
        rows = self._starts[case[kept]]
        here = slice(None) if kept.all() else kept
        for channel in range(self.input_slices):
            images[here, ..., channel] = self._images[rows + seen[kept, channel]]
        labels[here, ..., 0] = self._labels[rows + position[kept]]
        for row in np.flatnonzero(~kept):
            for channel, number in enumerate(seen[row]):
                image, label = self._from_disk(int(case[row]), int(number))
                images[row, ..., channel] = image
                if number == position[row]:
                    labels[row, ..., 0] = label
        return images, labels

    def _from_disk(self, case: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        if case not in self._on_disk:
            self._on_disk[case] = open_slices(self.manifest, self.entries[case])
        return self._on_disk[case].read(number)

    def places(self, patients: Sequence[str]) -> list[dict[str, list[tuple[int, int]]]]:
        """Return the (case, slice) pairs by patient, for each of WITH_TUMOR, KIDNEY_ONLY and NEITHER."""
        kinds: list[dict[str, list[tuple[int, int]]]] = [{}, {}, {}]
        wanted = set(patients)
        for index, entry in enumerate(self.entries):
            if entry.patient in wanted:
                for position, (_, kidney, tumor) in enumerate(entry.pixels or ()):
                    kind = WITH_TUMOR if tumor else KIDNEY_ONLY if kidney else NEITHER
                    kinds[kind].setdefault(entry.patient, []).append((index, position))
        return kinds
