"""Objects of masks of every small shape, beside scipy's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from data_prep.geometry.components import connected, connected_objects
from kidney_seg.metrics.lesion_detection import detect
from kidney_seg.postprocess.distant_objects import remove_distant_objects

# the odd and the thin ones are those that cc3d fails on, if asked in booleans
BOXES = [shape for shape in itertools.product((1, 2, 3, 6, 7), repeat=3) if np.prod(shape) <= 84]
IMAGES = list(itertools.product((1, 2, 3, 5, 9, 13), repeat=2))


def spread(shape: tuple[int, ...]) -> list[np.ndarray]:
    """A full mask, and those that leave out every second voxel along some axes: along all of them, the most objects."""
    made = []
    for steps in itertools.product((1, 2), repeat=len(shape)):
        mask = np.zeros(shape, bool)
        mask[tuple(slice(None, None, step) for step in steps)] = True
        made.append(mask)
    return made


def masks(shape: tuple[int, ...]) -> list[np.ndarray]:
    """These, an empty one, noise of any density, and one that has voxels in one row only."""
    rng = np.random.default_rng(shape)
    noise = [rng.random(shape) < share for share in (0.0, 0.1, 0.3, 0.5, 0.9)]
    one_row = np.zeros(shape, bool)
    one_row[tuple(size // 2 for size in shape[:-1])] = rng.random(shape[-1]) < 0.5
    return [*spread(shape), *noise, one_row]


def renumbered(ids: np.ndarray) -> np.ndarray:
    """The numbers in the order in which the objects begin."""
    _, first, inverse = np.unique(np.append(0, ids), return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse[1:]].reshape(ids.shape)


@pytest.mark.parametrize("shapes", [BOXES, IMAGES], ids=["26", "8"])
def test_every_small_shape_as_scipy_has_it(shapes):
    for shape in shapes:
        for mask in masks(shape):
            expected, count = ndimage.label(mask, np.ones((3,) * len(shape)))
            for seen, wanted in ((mask, expected), (mask.T, expected.T)):
                ids, found = connected(seen)
                assert found == count, mask
                np.testing.assert_array_equal(renumbered(ids), renumbered(wanted))


def test_all_that_uses_them_survives_every_small_map():
    for shape in BOXES:
        for mask in spread(shape):
            ids, voxels, boxes = connected_objects(mask)
            assert voxels.tolist() == [0, *np.bincount(ids[mask], minlength=len(voxels))[1:]]
            assert list(boxes[1:]) == ndimage.find_objects(ids)
            labels = mask * np.uint8(2)
            kept = remove_distant_objects(labels, (30.0, 30.0, 30.0))  # 27 mL a voxel, more than 20 mm apart
            second = np.sort(voxels[1:])[-2:][:1]
            stays = mask if 1 in shape or not second.size else voxels[ids] >= second  # of a flat map all stays
            np.testing.assert_array_equal(kept, labels * stays)
            assert all(lesion.dice == 1 for lesion in detect(mask, mask, (30.0, 30.0, 30.0))[0])
