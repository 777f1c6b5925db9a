"""Changes of slices: where pixels go, worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kidney_seg.augment import (
    AIR_HU,
    NO_GRAY_CHANGE,
    affine_transforms,
    apply_changes,
    bend,
    change_gray,
    draw_changes,
)
from kidney_seg.config import DataConfig

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
    drawn = draw_changes(np.random.default_rng(5), 2000, 64, config, 100.0)
    again = draw_changes(np.random.default_rng(5), 2000, 64, config, 100.0)
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
    still = draw_changes(np.random.default_rng(5), 3, 64, none, 100.0)
    np.testing.assert_allclose(still.transforms, [[1, 0, 0, 0, 1, 0, 0, 0]] * 3, atol=1e-6)
    np.testing.assert_allclose(still.hu_linear, [[1, 0]] * 3)
    np.testing.assert_array_equal(still.gray, [NO_GRAY_CHANGE] * 3)
    assert not still.bend_px.any()


def test_drawn_gray_changes_stay_in_their_limits_and_shift_no_other_draw():
    plain = DataConfig()
    config = dataclasses.replace(plain, blur_px=1.5, gamma_change=0.5, noise_hu=20)
    drawn = draw_changes(np.random.default_rng(5), 2000, 64, config, 100.0)
    before = draw_changes(np.random.default_rng(5), 2000, 64, plain, 100.0)
    np.testing.assert_array_equal(drawn.transforms, before.transforms)
    np.testing.assert_array_equal(drawn.hu_linear, before.hu_linear)
    blur, power, noise = drawn.gray.T
    for values, limit in ((blur, 1.5), (noise, 20)):
        assert 0.45 < np.mean(values == 0) < 0.55 and 0.95 * limit < values.max() <= limit
    assert 1 / 1.5 - 1e-6 <= power.min() < 0.68 and 1.48 < power.max() <= 1.5 + 1e-6
    assert 0.45 < np.mean(power > 1) < 0.55
    assert len(set(drawn.seed)) == 2000
    bent = draw_changes(np.random.default_rng(5), 2000, 64, dataclasses.replace(plain, elastic_px=3), 100.0)
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
