"""From the canvas to the image's own grid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, generate_binary_structure
from support.label_maps import SPACING_MM, two_kidneys

from data_prep.geometry.network_grid import GridSettings, labels_to_network
from data_prep.phantom.painting.appearance import Appearance
from data_prep.phantom.painting.canvas import Canvas
from data_prep.phantom.painting.rendering import Target, largest, render
from data_prep.phantom.painting.scene import Scene


def test_largest_share_by_hand():
    shares = np.array([[0.49, 0.0], [0.5, 0.0], [0.4, 0.4], [0.1, 0.45], [0.2, 0.4], [0.34, 0.32]])
    assert largest(shares).tolist() == [0, 1, 2, 2, 2, 1]


def test_the_labels_own_grid_is_kept():
    labels = two_kidneys()
    target = Target(labels, SPACING_MM)
    assert target.shape_zyx == labels.shape and target.spacing_mm == SPACING_MM
    assert target.image_labels() is labels


@pytest.mark.parametrize("size", [64, 96, 128])
def test_network_pixels_get_what_the_cache_would_get(size):
    labels = two_kidneys()
    target = Target(labels, SPACING_MM, settings=GridSettings(size))
    np.testing.assert_array_equal(target.image_labels(), labels_to_network(labels, SPACING_MM, GridSettings(size)))
    assert target.spacing_mm == (4.0, 384 / size, 384 / size)


def test_merged_slices_go_by_the_majority():
    labels = np.zeros((6, 16, 16), np.uint8)
    labels[0:2, 4, 4] = 1  # two of three
    labels[0, 4, 5] = 1  # one of three
    labels[3, 4, 4], labels[4, 4, 4], labels[5, 4, 4] = 0, 1, 2  # a third each: the highest
    target = Target(labels, SPACING_MM, merged=3)
    assert target.shape_zyx == (2, 16, 16) and target.spacing_mm == (12.0, 3.0, 3.0)
    out = target.image_labels()
    assert out[0, 4, 4] == 1 and out[0, 4, 5] == 0 and out[1, 4, 4] == 2 and np.count_nonzero(out) == 2


def test_canvas_is_no_finer_than_it_needs_to_be():
    thin = Target(np.zeros((100, 512, 796), np.uint8), (0.5, 0.45, 0.45))
    assert thin.canvas_shape_zyx == (20, 256, 256)
    assert thin.canvas_spacing_mm == pytest.approx((2.5, 796 * 0.45 / 256, 796 * 0.45 / 256))
    thick = Target(np.zeros((30, 512, 512), np.uint8), (5.0, 0.8, 0.8), settings=GridSettings(128))
    assert thick.canvas_shape_zyx == thick.shape_zyx == (30, 128, 128)
    assert thick.canvas_spacing_mm == thick.spacing_mm


def test_canvas_labels_keep_volumes():
    labels = np.repeat(two_kidneys(), 3, axis=0)
    target = Target(labels, (4.0 / 3, 3.0, 3.0), settings=GridSettings(96))
    canvas = target.canvas_labels()
    assert canvas.shape == target.canvas_shape_zyx == (71, 96, 96)  # 176 mm
    for value in (1, 2):
        before = np.count_nonzero(labels == value) * 4.0 / 3 * 9
        assert np.count_nonzero(canvas == value) * np.prod(target.canvas_spacing_mm) == pytest.approx(before, rel=0.03)


def scene_of(target: Target) -> Scene:
    # a background that rises by 1 HU a millimeter along every axis; kidney 500, tumor -500
    canvas = Canvas(np.random.default_rng(0), target.canvas_shape_zyx, target.canvas_spacing_mm, warp_mm=0.0)
    z, y, x = np.ix_(*canvas.axes_mm)
    canvas.hu = (z + y + x).astype(np.float32)
    return Scene(canvas, np.full_like(canvas.hu, 500), np.full_like(canvas.hu, -500), {})


@pytest.mark.parametrize("settings", [None, GridSettings(64), GridSettings(320)])
def test_every_voxel_shows_what_lies_at_its_place(settings):
    labels = np.repeat(two_kidneys(), 2, axis=0)
    target = Target(labels, (2.0, 3.0, 3.0), settings=settings)
    image = render(scene_of(target), target, 0.0, np.random.default_rng(0))
    assert image.shape == target.shape_zyx and image.dtype == np.int16
    places = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(target.shape_zyx, target.spacing_mm, strict=True)]
    shown = target.image_labels()
    edge = round(6 / target.spacing_mm[1]) + 1  # as far as a pixel of the labels reaches
    background = ~binary_dilation(shown > 0, iterations=edge)
    # the border of the field is left out: there is nothing to interpolate between
    off = np.where(background, image - sum(np.ix_(*places)), 0)[2:-2, 4:-4, 4:-4]
    assert np.abs(off).max() <= 1.01
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = generate_binary_structure(2, 1)
    for value, hu in ((1, 500), (2, -500)):
        inner = binary_erosion(shown == value, in_plane, iterations=edge)
        assert inner.any() and (image[inner] == hu).all()


def test_edges_of_labels_are_soft_where_pixels_are_fine():
    labels = np.zeros((4, 512, 512), np.uint8)
    labels[:, 100:400, 100:400] = 1
    target = Target(labels, (5.0, 0.7, 0.7))
    scene = scene_of(target)
    scene.canvas.hu[...] = 0
    image = render(scene, target, 0.0, np.random.default_rng(0))[2]
    row = image[250, 95:106]
    assert (np.diff(row) >= 0).all() and row[0] == 0 and row[-1] == 500
    assert row[4] + row[5] == pytest.approx(500, abs=1) and 50 < row[4] < 200  # half of it in the middle of the edge


def test_noise_has_its_deviation_and_its_seed():
    target = Target(two_kidneys(), SPACING_MM)
    scene = scene_of(target)
    clean = render(scene, target, 0.0, np.random.default_rng(0))
    noisy, again = (render(scene, target, 12.0, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(noisy, again)
    noise = (noisy - clean).astype(float)
    assert noise.std() == pytest.approx(12.0, rel=0.02)
    assert np.corrcoef(noise[:, :, :-1].ravel(), noise[:, :, 1:].ravel())[0, 1] > 0.1
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("grain_mm", [3.0, 3.5])
def test_noise_has_its_grain_by_hand(grain_mm):
    # white noise after a Gaussian: neighbors d apart correlate by exp(-d^2 / 4 sigma^2)
    target = Target(np.zeros((4, 128, 128), np.uint8), SPACING_MM)
    scene = scene_of(target)
    scene.canvas.hu[...] = 0
    noise = render(scene, target, 30.0, np.random.default_rng(7), Appearance(grain_mm=grain_mm)).astype(float)
    found = np.corrcoef(noise[:, :, :-1].ravel(), noise[:, :, 1:].ravel())[0, 1]
    assert noise.std() == pytest.approx(30.0, rel=0.02)
    assert found == pytest.approx(np.exp(-(SPACING_MM[2] ** 2) / (4 * grain_mm**2)), abs=0.04)


def test_a_line_is_blurred_by_as_much_as_asked_for():
    target = Target(np.zeros((4, 128, 128), np.uint8), (4.0, 1.0, 1.0))
    scene = scene_of(target)
    scene.canvas.hu[...] = 0
    scene.canvas.hu[:, :, 64] = 3000
    row = render(scene, target, 0.0, np.random.default_rng(0), Appearance(blur_mm=2.0))[2, 64].astype(float)
    assert row.sum() == pytest.approx(3000, abs=8)
    assert np.sqrt(((np.arange(128) - 64) ** 2 * row).sum() / row.sum()) == pytest.approx(2.0, rel=0.03)
