"""Labels placed on their image's grid: every axis order, oblique ties, boxes, and what is refused."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.helpers import one_line, save

from data_prep.errors import InputError
from data_prep.geometry.placement import CROPPED, place_labels
from data_prep.volume import read_labels, read_volume

AFFINE = np.array([[0, 0, -0.8, 30], [0, -0.7, 0, 20], [-3.0, 0, 0, 10], [0, 0, 0, 1]])  # of KiTS: I, P, L
SHAPE = (6, 8, 10)


def labels_of() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)


def stored(path: Path, codes: str, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write voxels with their axes in another order, at the same place."""
    image = nib.Nifti1Image(voxels, affine)
    to = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(codes)))
    nib.save(image.as_reoriented(to), path)
    return path


ORDERS = [
    "".join(pair[flip] for pair, flip in zip(order, flips, strict=True))
    for order in permutations(("LR", "PA", "IS"))
    for flips in product((0, 1), repeat=3)
]


def test_every_order_of_the_axes_gives_the_same_labels(tmp_path: Path) -> None:
    image = read_volume(save(tmp_path / "image.nii.gz", np.zeros(SHAPE, np.int16), AFFINE))
    expected = read_labels(save(tmp_path / "labels.nii.gz", labels_of(), AFFINE)).voxels
    assert len(set(ORDERS)) == 48
    for codes in ORDERS:
        found = read_labels(stored(tmp_path / "other.nii", codes, labels_of()))
        placed = place_labels(found, image.source)
        assert np.array_equal(placed.voxels, expected), codes
        assert (placed.source, placed.spacing_mm, placed.notes) == (image.source, image.spacing_mm, ())


@pytest.mark.parametrize("degrees", [44.999, 45.0, 45.001])
def test_axes_equally_near_to_two_others(tmp_path: Path, degrees: float) -> None:
    turn = np.radians(degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    image = read_volume(save(tmp_path / "image.nii", np.arange(480).reshape(SHAPE).astype(np.int16), affine))
    marked = read_volume(save(tmp_path / "same.nii", np.arange(480).reshape(SHAPE).astype(np.int16), affine))
    for order in ((1, 0, 2), (0, 2, 1), (2, 1, 0)):
        turned = affine.copy()
        turned[:3, :3] = affine[:3, list(order)]
        voxels = np.arange(480).reshape(SHAPE).transpose(order).astype(np.int16)
        placed = place_labels(read_volume(save(tmp_path / "turned.nii", voxels, turned)), image.source)
        assert np.array_equal(placed.voxels, marked.voxels)


def test_a_box_of_the_image_is_padded_with_background(tmp_path: Path) -> None:
    image = read_volume(save(tmp_path / "image.nii", np.zeros(SHAPE, np.int16), AFFINE))
    box = (slice(1, 4), slice(2, 8), slice(3, 9))
    affine = AFFINE.copy()
    affine[:3, 3] = (AFFINE @ [1, 2, 3, 1])[:3]
    expected = np.zeros(SHAPE, np.uint8)
    expected[box] = labels_of()[box]
    for codes in ("IPL", "RAS", "LPS"):
        placed = place_labels(read_labels(stored(tmp_path / "box.nii", codes, labels_of()[box], affine)), image.source)
        assert placed.notes == (CROPPED,)
        assert np.array_equal(placed.voxels, expected[::-1])  # I is counted from the head


def moved(mm: tuple[float, float, float]) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] += mm
    return affine


REFUSED = {
    "half a voxel": ((slice(None),) * 3, moved((0.4, 0, 0)), "grid_differs", "origin differ; a corner lies 0.4 mm"),
    "a whole voxel": ((slice(None),) * 3, moved((0.8, 0, 0)), "grid_differs", "0.8 mm away"),
    "far": ((slice(None),) * 3, moved((1e4, 0, 0)), "grid_differs", "origin differ"),
    "spacing": ((slice(None),) * 3, AFFINE * [[1], [1], [1.1], [1]], "grid_differs", "spacing, origin differ"),
    "a slice lost": ((slice(5), slice(None), slice(None)), AFFINE, "shape_differs", "has (5, 8, 10) voxels"),
    "box outside": ((slice(5), slice(7), slice(9)), moved((0.8, 0.7, 3)), "shape_differs", "the image (6, 8, 10)"),
    "box off the voxels": ((slice(5), slice(7), slice(9)), moved((-1.2, -1, -4)), "shape_differs", "a box within"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_grids_are_refused(tmp_path: Path, name: str) -> None:
    part, affine, code, words = REFUSED[name]
    image = read_volume(save(tmp_path / "image.nii", np.zeros(SHAPE, np.int16), AFFINE))
    labels = read_labels(save(tmp_path / "labels.nii", labels_of()[part], affine))
    with pytest.raises(InputError) as caught:
        place_labels(labels, image.source)
    assert caught.value.code == code and words in one_line(caught)


def test_labels_larger_than_the_image_are_refused(tmp_path: Path) -> None:
    image = read_volume(save(tmp_path / "image.nii", np.zeros((5, 8, 10), np.int16), moved((0, 0, -3))))
    labels = read_labels(save(tmp_path / "labels.nii", labels_of(), AFFINE))
    with pytest.raises(InputError, match=r"has \(6, 8, 10\) voxels \(z, y, x\), the image \(5, 8, 10\)"):
        place_labels(labels, image.source)
