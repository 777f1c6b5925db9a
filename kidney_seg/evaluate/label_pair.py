"""A prediction and its truth, read and placed on one grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.errors import InputError
from data_prep.geometry.label_numbers import doubtful_numbers
from data_prep.geometry.placement import place_labels
from data_prep.geometry.volume import Volume
from data_prep.volume import read_labels


@dataclass(frozen=True)
class LabelPair:
    """Labels uint8 [z, y, x] of one shape. unreadable: why the prediction counts as empty; notes: one line each."""

    truth: np.ndarray
    predicted: np.ndarray
    spacing_mm: tuple[float, float, float]
    unreadable: str | None
    notes: tuple[str, ...]


def read_pair(truth: Path, predicted: Path | None) -> LabelPair:
    """Read a truth and its prediction; an absent or unreadable prediction is empty.

    Notes say what the readers decided, and what speaks against the meaning of the labels' numbers. InputError if the
    truth is unreadable, or the two do not share their voxels (code `other_grid`).
    """
    true, found, unreadable = read_labels(truth), None, None
    if predicted is not None:
        try:
            found = read_labels(predicted)
        except InputError as error:
            unreadable = error.detail
        else:
            found, true = on_one_grid(found, true)
    notes = [
        f"{volume.path}: {note}"
        for volume in (true, found)
        if volume is not None
        for note in (*volume.notes, *doubtful_numbers(volume.voxels, volume.spacing_mm))
    ]
    voxels = np.zeros_like(true.voxels) if found is None else found.voxels
    return LabelPair(true.voxels, voxels, true.spacing_mm, unreadable, tuple(notes))


def on_one_grid(found: Volume, true: Volume) -> tuple[Volume, Volume]:
    """Return a prediction and its truth on one grid: the larger one's, if one of them covers only a box of the other.

    InputError (code `other_grid`) if they do not share their voxels.
    """
    try:
        if found.voxels.size > true.voxels.size:
            return found, place_labels(true, found.source, f"its prediction {found.path}")
        return place_labels(found, true.source, f"its truth {true.path}"), true
    except InputError as error:
        raise InputError(error.detail, error.path, "other_grid") from None
