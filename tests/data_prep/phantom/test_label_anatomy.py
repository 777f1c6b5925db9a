"""Kidneys found in label maps, the spine between them, and label maps with other kidneys."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import center_of_mass, label
from support.label_maps import SHAPE, SPACING_MM, ball, two_kidneys

from data_prep.phantom.painting.body_size import EASY, draw_build
from data_prep.phantom.painting.label_anatomy import (
    find_labelled_kidneys,
    find_spine,
    fit_build,
    shadow_mm,
    without_healthy_kidney,
)
from data_prep.volume import read_labels

BALL_ML = 4 / 3 * np.pi * 1.8**3


def test_bodies_are_where_they_were_drawn():
    labels = two_kidneys()
    labels[3, 3, 3] = 1  # a speck is no kidney
    right, left = find_labelled_kidneys(labels, SPACING_MM)
    np.testing.assert_allclose(right.center_mm, (-65.0, 30.0, -4.0), atol=0.5)
    assert right.tumor_ml == 0 and left.tumor_ml == pytest.approx(BALL_ML, rel=0.05)
    assert right.mask.shape == labels[right.box].shape
    # by another library's count of the same voxels
    where = np.array(center_of_mass(labels == 1, label(labels > 0, np.ones((3, 3, 3)))[0], [1, 2, 3]))
    expected = (where - (np.array(SHAPE) - 1) / 2) * SPACING_MM
    assert np.abs(expected[:, ::-1] - left.center_mm).max(axis=1).min() < 1e-6


def test_no_kidney_no_body():
    assert find_labelled_kidneys(np.zeros(SHAPE, np.uint8), SPACING_MM) == []
    speck = np.zeros(SHAPE, np.uint8)
    speck[20:22, 60:64, 60:64] = 1
    assert find_labelled_kidneys(speck, SPACING_MM) == []
    assert len(find_labelled_kidneys((two_kidneys() == 1).astype(np.uint8), SPACING_MM)) == 2


def test_the_shadow_has_all_of_the_volume():
    labels = two_kidneys()
    shadow = shadow_mm(labels, SPACING_MM)
    assert shadow[:, 2].sum() * SPACING_MM[1] * SPACING_MM[2] == np.count_nonzero(labels) * np.prod(SPACING_MM)
    middle = (np.array(center_of_mass(labels > 0)) - (np.array(SHAPE) - 1) / 2) * SPACING_MM
    found = (shadow[:, :2] * shadow[:, 2:]).sum(axis=0) / shadow[:, 2].sum()
    np.testing.assert_allclose(found, (middle[2], middle[1]))


def test_the_spine_lies_between_the_kidneys_and_out_of_them():
    labels = two_kidneys()
    x, y = find_spine(shadow_mm(labels, SPACING_MM), find_labelled_kidneys(labels, SPACING_MM))
    assert abs(x) < 8 and 15 < y < 40
    # a tumor across the midline pushes it aside, not much more than out of the way
    ball(labels, (25.0, 20.0, 0.0), (28.0, 30.0, 30.0), 2)
    moved, _ = find_spine(shadow_mm(labels, SPACING_MM), find_labelled_kidneys(labels, SPACING_MM))
    assert -40 <= moved < x
    single = np.where(np.arange(SHAPE[2]) > 64, two_kidneys(), 0).astype(np.uint8)
    assert abs(find_spine(shadow_mm(single, SPACING_MM), find_labelled_kidneys(single, SPACING_MM))[0]) < 10


@pytest.mark.parametrize("field_mm", [300.0, 400.0, 500.0])
def test_the_body_is_as_wide_as_its_kidneys_need(field_mm):
    labels = two_kidneys()
    build = draw_build(np.random.default_rng(1), EASY)
    shadow, bodies = shadow_mm(labels, SPACING_MM), find_labelled_kidneys(labels, SPACING_MM)
    fitted = fit_build(np.random.default_rng(2), build, shadow, find_spine(shadow, bodies), field_mm)
    assert fitted.half_width_mm - fitted.fat_mm > 110  # the tumor's outer edge, 92 + 18
    assert fitted.half_depth_mm / fitted.half_width_mm == pytest.approx(build.half_depth_mm / build.half_width_mm)
    assert fitted.hu == build.hu and 5.0 <= fitted.fat_mm <= 34.0


def test_only_a_healthy_kidney_can_go():
    labels = two_kidneys()
    before = labels.copy()
    changed = without_healthy_kidney(labels, find_labelled_kidneys(labels, SPACING_MM))
    np.testing.assert_array_equal(labels, before)
    right = np.arange(SHAPE[2]) < 64
    assert not changed[:, :, right].any()
    np.testing.assert_array_equal(changed[:, :, ~right], labels[:, :, ~right])
    both_ill = two_kidneys()
    ball(both_ill, (-92.0, 24.0, 10.0), 15.0, 2)
    for none in (both_ill, changed, two_kidneys(tumor_mm=0)):
        assert without_healthy_kidney(none, find_labelled_kidneys(none, SPACING_MM)) is None


@pytest.mark.parametrize(("name", "count"), [("case_00004", 2), ("case_00010", 2), ("case_00110", 2)])
def test_real_maps(shared_data, name, count):
    volume = read_labels(shared_data / "kits19_labels" / name / "segmentation.nii.gz")
    bodies = find_labelled_kidneys(volume.voxels, volume.spacing_mm)
    assert len(bodies) == count and bodies[0].center_mm[0] < -25 < 25 < bodies[1].center_mm[0]
    shadow = shadow_mm(volume.voxels, volume.spacing_mm)
    x, y = find_spine(shadow, bodies)
    inside = ((shadow[:, 0] - x) / 23) ** 2 + ((shadow[:, 1] - y) / 17) ** 2 < 1
    assert shadow[inside, 2].sum() < 0.02 * shadow[:, 2].sum()
