"""Changes of slices: where pixels go, worked out by hand."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from kidney_seg.config.data import DataConfig
from kidney_seg.pipeline.augmentation import (
    AIR_HU,
    NO_GRAY_CHANGE,
    affine_transforms,
    apply_changes,
    bend,
    change_gray,
    cut_field,
    draw_changes,
    paste_tumor,
)


def drawn_changes(*arguments) -> SimpleNamespace:
    return SimpleNamespace(**draw_changes(*arguments))


SIZE = 9  # odd: the center is a pixel
NO_CHANGE = np.array([[1.0, 0.0]], np.float32)


def changed(image, *, shift=(0.0, 0.0), scale=1.0, rotation_deg=0.0, flip=False, hu_linear=NO_CHANGE):
    transforms = affine_transforms(
        SIZE, np.array([shift]), np.array([scale]), np.array([rotation_deg]), np.array([flip])
    )
    label = (image > 0).astype(np.uint8)
    made = apply_changes(tf.constant(image[None, ..., None]), label[None, ..., None], transforms, hu_linear)
    return tuple(np.asarray(pixels)[0, ..., 0] for pixels in made)


def dot(y: int, x: int) -> np.ndarray:
    image = np.full((SIZE, SIZE), AIR_HU, np.float32)
    image[y, x] = 100.0
    return image


def place(label: np.ndarray) -> list[tuple[int, int]]:
    return [(int(y), int(x)) for y, x in np.argwhere(label)]


def test_no_change_is_no_change():
    image = np.random.default_rng(0).normal(0, 100, (SIZE, SIZE)).astype(np.float32)
    made, label = changed(image)
    np.testing.assert_allclose(made, image, atol=1e-3)
    np.testing.assert_array_equal(label, image > 0)


def test_shift_moves_right_and_down():
    image, label = changed(dot(4, 4), shift=(2, -3))
    assert place(label) == [(1, 6)]
    assert image[1, 6] == 100.0
    assert place(changed(dot(4, 8), shift=(2, 0))[1]) == []  # moved out of the field


def test_flip_mirrors_left_and_right():
    assert place(changed(dot(2, 1), flip=True)[1]) == [(2, 7)]


def test_rotation_turns_right_to_down():
    assert place(changed(dot(4, 7), rotation_deg=90.0)[1]) == [(7, 4)]


def test_scale_enlarges():
    assert (2, 4) not in place(changed(dot(3, 4), scale=1.0)[1])
    assert (2, 4) in place(changed(dot(3, 4), scale=2.0)[1])


def test_flip_comes_before_shift():
    assert place(changed(dot(4, 3), flip=True, shift=(2, 0))[1]) == [(4, 7)]


def test_outside_is_air_and_background():
    image, label = changed(np.full((SIZE, SIZE), 50.0, np.float32), shift=(3, 0))
    assert (image[:, :3] == AIR_HU).all() and (label[:, :3] == 0).all()
    assert (image[:, 3:] == 50.0).all() and (label[:, 3:] == 1).all()


def test_hu_changes_linearly():
    image, _ = changed(dot(4, 4), hu_linear=np.array([[1.5, -20.0]], np.float32))
    assert image[4, 4] == 130.0


def test_drawn_changes_stay_in_their_limits_and_follow_the_generator():
    config = DataConfig()
    drawn = drawn_changes(np.random.default_rng(5), 2000, 64, config, 100.0)
    again = drawn_changes(np.random.default_rng(5), 2000, 64, config, 100.0)
    np.testing.assert_array_equal(drawn.transforms, again.transforms)
    np.testing.assert_array_equal(drawn.hu_linear, again.hu_linear)
    a0, a1, _, a3, a4 = drawn.transforms[:, :5].T
    scale = 1 / np.hypot(a0, a1)
    assert (abs(scale - 1) <= config.scale + 1e-6).all() and scale.std() > 0.05
    angle = np.rad2deg(np.arctan2(-a3, a4))
    assert (abs(angle) <= config.rotation_deg + 1e-4).all()
    assert 0.45 < np.mean(a0 < 0) < 0.55  # mirrored
    factor, offset = drawn.hu_linear.T
    at_middle = factor * 100.0 + offset  # contrast leaves the middle of the window alone
    assert (abs(at_middle - 100.0) <= config.brightness_hu + 1e-3).all()
    none = dataclasses.replace(config, shift=0, scale=0, rotation_deg=0, flip=0, contrast=0, brightness_hu=0)
    still = drawn_changes(np.random.default_rng(5), 3, 64, none, 100.0)
    np.testing.assert_allclose(still.transforms, [[1, 0, 0, 0, 1, 0, 0, 0]] * 3, atol=1e-6)
    np.testing.assert_allclose(still.hu_linear, [[1, 0]] * 3)
    np.testing.assert_array_equal(still.gray, [NO_GRAY_CHANGE] * 3)
    assert not still.bend_px.any()


def test_drawn_gray_changes_stay_in_their_limits_and_shift_no_other_draw():
    plain = DataConfig()
    config = dataclasses.replace(plain, blur_px=1.5, gamma_change=0.5, noise_hu=20)
    drawn = drawn_changes(np.random.default_rng(5), 2000, 64, config, 100.0)
    before = drawn_changes(np.random.default_rng(5), 2000, 64, plain, 100.0)
    np.testing.assert_array_equal(drawn.transforms, before.transforms)
    np.testing.assert_array_equal(drawn.hu_linear, before.hu_linear)
    blur, power, noise = drawn.gray.T
    for values, limit in ((blur, 1.5), (noise, 20)):
        assert 0.45 < np.mean(values == 0) < 0.55 and 0.95 * limit < values.max() <= limit
    assert 1 / 1.5 - 1e-6 <= power.min() < 0.68 and 1.48 < power.max() <= 1.5 + 1e-6
    assert 0.45 < np.mean(power > 1) < 0.55
    assert len(set(drawn.seed)) == 2000
    bent = drawn_changes(np.random.default_rng(5), 2000, 64, dataclasses.replace(plain, elastic_px=3), 100.0)
    np.testing.assert_array_equal(bent.transforms, before.transforms)
    assert 0.45 < np.mean(bent.bend_px == 0) < 0.55 and 2.9 < bent.bend_px.max() <= 3
    assert len(set(bent.seed)) == 2000


def regrayed(image, blur=0.0, power=1.0, noise=0.0, seed=0):
    made = np.array(image, np.float32)[None, ..., None]
    change_gray(made, np.array([[blur, power, noise]], np.float32), np.array([seed]), (0.0, 200.0))
    return made[0, ..., 0]


def test_power_bends_the_window_and_leaves_the_rest():
    np.testing.assert_allclose(regrayed([[-50, 0, 50, 100, 200, 260]], power=2), [[-50, 0, 12.5, 50, 200, 260]])


def test_blur_spreads_a_dot_as_a_gaussian():
    image = np.zeros((17, 17))
    image[8, 8] = 100
    made = regrayed(image, blur=1.0)
    assert made.sum() == pytest.approx(100, rel=1e-3)
    assert made[8, 9] / made[8, 8] == pytest.approx(np.exp(-0.5), rel=1e-3)


def test_noise_has_the_deviation_asked_for_and_follows_its_seed():
    flat = np.full((16, 16), 70, np.float32)
    noise = np.concatenate([regrayed(flat, noise=10.0, seed=seed) for seed in range(8)]) - 70
    assert noise.std() == pytest.approx(10, rel=0.1) and abs(noise.mean()) < 1
    np.testing.assert_array_equal(regrayed(flat, noise=10.0, seed=3), regrayed(flat, noise=10.0, seed=3))


def bent(picture, deviation, seed, label=None):
    image = np.array(picture, np.float32)[None, ..., None]
    labels = np.zeros(image.shape, np.uint8) if label is None else np.array(label, np.uint8)[None, ..., None]
    bend(image, labels, np.array([deviation], np.float32), np.array([seed]))
    return image[0, ..., 0], labels[0, ..., 0]


def test_bends_move_pixels_smoothly_by_the_deviation_asked_for():
    size, deviation = 65, 2.0
    ramps = np.indices((size, size)).astype(np.float32)  # gray value and place are one
    inner = slice(16, -16)  # nothing comes from outside
    moved = np.array([[bent(ramp, deviation, seed)[0] - ramp for ramp in ramps] for seed in range(40)])
    knots = moved[:, :, 16:-16:16, 16:-16:16]  # here the offsets are the ones drawn
    assert knots.std() == pytest.approx(deviation, rel=0.1) and abs(knots.mean()) < 0.3
    assert abs(np.corrcoef(knots[:, 0].ravel(), knots[:, 1].ravel())[0, 1]) < 0.15  # y and x each on its own
    steps, slope = np.diff(moved[:, :, inner, inner], axis=-1), abs(np.diff(knots, axis=-1)).max() / 16
    assert slope < abs(steps).max() < 2 * slope  # no jump between neighbors: a spline is at most so much steeper
    again, _ = bent(ramps[0], deviation, 7)
    np.testing.assert_array_equal(again - ramps[0], moved[7, 0])


def test_a_bend_takes_the_label_along_and_leaves_other_slices():
    disk = np.hypot(*(np.indices((64, 64)) - 31.5)) < 12
    image, label = bent(np.where(disk, 100.0, 0.0), 3.0, 1, disk)
    assert 20 < np.sum(label != disk) < disk.sum()
    assert np.sum((image > 50) != label) < 10  # nearest and linear differ at corners
    same, label = bent(np.where(disk, 100.0, 0.0), 0.0, 1, disk)
    np.testing.assert_array_equal(same, np.where(disk, 100.0, 0.0))
    np.testing.assert_array_equal(label, disk)


def pasted(seed, kidney, tumor_pixels=81):
    """Return image and label of a slice of 50 HU, `kidney` of it 90, into which a square tumor of 150 HU is pasted."""
    kidney = np.asarray(kidney, bool)
    image, label = np.where(kidney, 90, 50).astype(np.float32)[..., None], kidney.astype(np.uint8)[..., None]
    donor, donor_label = np.full(image.shape, -500, np.float32), np.zeros(label.shape, np.uint8)
    edge = round(tumor_pixels**0.5)
    donor[5 : 5 + edge, 7 : 7 + edge], donor_label[5 : 5 + edge, 7 : 7 + edge] = 150, 2
    donor_label[0, 0] = 1  # a kidney that stays where it is
    paste_tumor(image, label, donor, donor_label, seed)
    return image[..., 0], label[..., 0]


def test_pasted_tumors_lie_on_kidney_and_are_turned_and_resized_only():
    kidney = np.zeros((64, 64), bool)
    kidney[30:34, 20:40] = True
    areas, corners = [], []
    for seed in range(60):
        image, label = pasted(seed, kidney)
        tumor = label == 2
        assert kidney[tuple(np.round(np.argwhere(tumor).mean(axis=0)).astype(int))]  # its center is on kidney
        assert ((label == 1) == (kidney & ~tumor)).all()
        far = np.abs(image - np.where(kidney, 90, 50)) < 1e-3
        assert far[~tumor].mean() > 0.98 and np.median(image[tumor]) > 140  # a blended edge, inside the donor
        areas.append(tumor.sum())
        corners.append(len(np.unique(np.argwhere(tumor)[:, 0])))
    assert 81 / 1.3**2 - 8 < min(areas) < 60 and 110 < max(areas) < 81 * 1.3**2 + 8  # PASTE_SCALE both ways
    assert min(corners) < 9 and max(corners) > 12  # rows of squares and of diamonds
    np.testing.assert_array_equal(pasted(3, kidney)[0], pasted(3, kidney)[0])


def test_nothing_is_pasted_where_there_is_no_kidney():
    image, label = pasted(0, np.zeros((64, 64)))
    assert (image == 50).all() and not label.any()


def test_a_cut_field_keeps_the_middle_alone():
    image, label = np.full((2, 10, 10, 2), 50, np.float32), np.ones((2, 10, 10, 1), np.uint8)
    cut_field(image, label, np.array([1.0, 0.6]))
    assert (image[0] == 50).all() and label[0].all()
    expected = np.zeros((10, 10), bool)
    expected[2:8, 2:8] = True  # 60 % of 10
    np.testing.assert_array_equal(label[1, ..., 0], expected)
    for channel in range(2):
        np.testing.assert_array_equal(image[1, ..., channel], np.where(expected, 50, AIR_HU))


def test_half_of_the_slices_are_cut_and_nothing_else_is_drawn_anew():
    before = drawn_changes(np.random.default_rng(3), 1000, SIZE, DataConfig(), 100.0)
    cut = drawn_changes(np.random.default_rng(3), 1000, SIZE, DataConfig(narrow_field=0.5), 100.0)
    assert (before.field == 1).all() and 0.45 < np.mean(cut.field == 1) < 0.55
    assert 0.6 <= cut.field.min() < 0.62 and 0.93 < cut.field[cut.field < 1].max() <= 0.95
    np.testing.assert_array_equal(before.transforms, cut.transforms)
    np.testing.assert_array_equal(before.hu_linear, cut.hu_linear)
