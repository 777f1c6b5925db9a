"""Label maps whose numbers mean something else than here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep.geometry.label_numbers import doubtful_numbers
from data_prep.volume import read_labels

MM = (5.0, 2.0, 2.0)  # a voxel of .02 mL


def sides(right: int, left: int, tumor: int = 0) -> np.ndarray:
    """Two kidneys of 128 mL and a tumor of 12.8 mL in the right one."""
    labels = np.zeros((40, 80, 80), np.uint8)
    labels[10:26, 40:60, 10:30], labels[10:26, 40:60, 50:70] = right, left
    if tumor:
        labels[15:25, 40:48, 10:18] = tumor
    return labels


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (sides(1, 1), None),
        (sides(1, 1, 2), None),
        (sides(1, 1, 3), None),
        (sides(1, 2), "the tumor (2) of 128 mL touches no kidney"),
        (sides(1, 2, 3), "the tumor (2) of 128 mL touches no kidney"),
        (sides(1, 3), "the cyst (3) of 128 mL touches no kidney"),
        (sides(2, 3), "no voxel is kidney (1), all are 2 and 3"),
        (sides(2, 2), "no voxel is kidney (1), all are 2"),
        (np.zeros((40, 8, 8), np.uint8), None),
        (sides(2, 3)[12:20], None),  # a few slices need not hold a kidney
    ],
)
def test_left_and_right_are_not_kidney_and_tumor(labels: np.ndarray, words: str | None) -> None:
    found = list(doubtful_numbers(labels, MM))
    assert [one.startswith(words or "") for one in found] == [True] * (words is not None)


def test_a_small_tumor_apart_is_no_doubt() -> None:
    labels = sides(1, 1)
    labels[0:5, 0:7, 0:7] = 2  # 4.9 mL
    assert list(doubtful_numbers(labels, MM)) == []
    labels[0:5, 0:7, 0:8] = 2
    assert next(doubtful_numbers(labels, MM)).startswith("the tumor (2) of 6 mL touches no kidney")


def test_no_real_label_map_is_in_doubt(shared_data: Path) -> None:
    """All 126 were tried; two here, a tumor of 8 and one of 1417 mL."""
    for number in (0, 42):
        path = shared_data / "kits19_labels" / f"case_{number:05d}" / "segmentation.nii.gz"
        if path.exists():
            volume = read_labels(path)
            assert list(doubtful_numbers(volume.voxels, volume.spacing_mm)) == []
