"""Labels that are mirrored against their image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep.check.mirrored import mirror_image
from data_prep.volume import read_labels, read_volume


def scan() -> tuple[np.ndarray, np.ndarray]:
    """Labels [z, y, x] and HU: two kidneys of 150 HU in fat of -90, unlike in size and height."""
    labels = np.zeros((24, 60, 60), np.uint8)
    labels[5:15, 35:48, 8:20], labels[8:20, 38:50, 38:52] = 1, 1
    hu = np.where(labels > 0, 150, -90).astype(np.int16)
    return labels, hu + np.random.default_rng(0).normal(0, 15, hu.shape).astype(np.int16)


@pytest.mark.parametrize(
    ("axes", "sides"),
    [
        ((2,), "left and right"),
        ((1,), "front and back"),
        ((0,), "top and bottom"),
        ((1, 2), "left and right, front and back"),
    ],
)
def test_the_sides_to_be_exchanged_are_named(axes: tuple[int, ...], sides: str) -> None:
    labels, hu = scan()
    found = mirror_image(np.flip(labels, axes), hu)
    assert found is not None and found[0] == sides
    assert found[2] == pytest.approx(240, abs=2) and found[1] < 200


def test_labels_in_place_and_labels_that_fit_nowhere_are_not_mirrored() -> None:
    labels, hu = scan()
    assert mirror_image(labels, hu) is None
    assert mirror_image(np.roll(labels, 1, axis=2), hu) is None
    assert mirror_image(labels, np.full_like(hu, 40)) is None
    assert mirror_image(np.zeros_like(labels), hu) is None


def test_real_scans_are_sound_and_mirrored_ones_found(shared_data: Path) -> None:
    for folder in (shared_data / "kits_whole" / "case_00000", shared_data / "real_ct" / "case_90000"):
        hu = read_volume(folder / "imaging.nii.gz").voxels
        labels = read_labels(folder / "segmentation.nii.gz").voxels
        assert mirror_image(labels, hu) is None
        for axis, sides in enumerate(("top and bottom", "front and back", "left and right")):
            found = mirror_image(np.flip(labels, axis), hu)
            assert found is not None and found[0] == sides
