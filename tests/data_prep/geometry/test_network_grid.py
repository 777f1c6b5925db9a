from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import InputError
from data_prep.geometry import network_grid as grid
from data_prep.geometry.network_grid import (
    GridSettings,
    labels_to_network,
    network_pixel_mm,
    probabilities_to_labels,
    resampling_matrix,
    shares_to_network,
    to_network,
)
from data_prep.geometry.resampling import AIR_HU
from data_prep.volume import read_labels


@pytest.mark.parametrize("size", [0, -16, 8, 100, 255])
def test_sizes_that_the_network_cannot_halve_four_times_are_refused(size: int) -> None:
    with pytest.raises(InputError, match="multiple of 16"):
        GridSettings(size)


@pytest.mark.parametrize("pixel_mm", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_pixel_sizes_are_refused(pixel_mm: float) -> None:
    with pytest.raises(InputError, match="positive number"):
        GridSettings(64, pixel_mm)


def test_the_pixel_is_the_field_by_the_size_unless_it_is_given() -> None:
    assert network_pixel_mm((512, 512), (0.8, 0.8), GridSettings(256)) == pytest.approx(1.6)
    assert network_pixel_mm((512, 796), (0.8, 0.8), GridSettings(256)) == pytest.approx(796 * 0.8 / 256)
    assert network_pixel_mm((100, 50), (1.0, 3.0), GridSettings(16)) == pytest.approx(150 / 16)
    assert network_pixel_mm((512, 796), (0.8, 0.8), GridSettings(256, 1.5)) == 1.5


def test_matrices_worked_out_by_hand() -> None:
    # 3 pixels of 2 mm to 2 of 3 mm: [1, 1/2, 0] * 2/3
    assert resampling_matrix(3, 2, 2, 3) == pytest.approx(np.array([[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]))
    # 2 of 2 mm to 4 of 1 mm: centers at -1/4, 1/4, 3/4, 5/4 source pixels, the outer ones clamped
    upward = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    assert resampling_matrix(2, 2, 4, 1) == pytest.approx(upward)
    # one pixel of 1 mm in the middle of three of 2 mm: half of the middle one is covered
    assert resampling_matrix(1, 1, 3, 2) == pytest.approx(np.array([[0], [0.5], [0]]))
    # crop: 4 of 1 mm to 2 of 1 mm
    assert resampling_matrix(4, 1, 2, 1) == pytest.approx(np.array([[0, 1, 0, 0], [0, 0, 1, 0]]))
    # finer and beyond the field: outside is nothing
    assert resampling_matrix(1, 1, 4, 0.5).ravel() == pytest.approx([0, 1, 1, 0])
    assert np.array_equal(resampling_matrix(7, 0.3, 7, 0.3), np.eye(7))
    assert resampling_matrix(5, 1, 3, 2).dtype == np.float32


grids = st.tuples(st.integers(1, 40), st.floats(0.2, 4.0), st.integers(1, 40), st.floats(0.2, 4.0))


@given(grids)
def test_rows_say_how_much_of_a_pixel_is_inside_the_field(grid: tuple[int, float, int, float]) -> None:
    n_from, mm_from, n_to, mm_to = grid
    matrix = resampling_matrix(n_from, mm_from, n_to, mm_to).astype(float)
    assert matrix.min() >= 0
    edges = (np.arange(n_to + 1) - n_to / 2) * mm_to
    half = n_from * mm_from / 2
    inside = np.clip(np.minimum(edges[1:], half) - np.maximum(edges[:-1], -half), 0, None) / mm_to
    assert matrix.sum(axis=1) == pytest.approx(inside, abs=1e-5)
    assert np.allclose(matrix, matrix[::-1, ::-1], atol=1e-5)  # mirrored input, mirrored output


@given(grids)
def test_averaging_neither_makes_nor_loses_anything_inside_the_field(grid) -> None:
    n_from, mm_from, n_to, mm_to = grid
    if mm_to < mm_from or n_to * mm_to < n_from * mm_from:
        return
    mass = resampling_matrix(n_from, mm_from, n_to, mm_to).astype(float).sum(axis=0) * mm_to
    assert mass == pytest.approx(np.full(n_from, mm_from), rel=1e-4)


def test_512_to_256_is_the_mean_of_blocks() -> None:
    image = np.random.default_rng(0).integers(-1000, 2000, (2, 512, 512)).astype(np.int16)
    blocks = image.reshape(2, 256, 2, 256, 2).mean(axis=(2, 4))
    out = to_network(image, (3.0, 0.8, 0.8), GridSettings(256))
    assert out.dtype == np.int16
    assert np.abs(out - blocks).max() <= 0.5


def test_a_wide_field_keeps_its_aspect_between_bands_of_air() -> None:
    image = np.full((1, 512, 796), 50, np.int16)
    out = to_network(image, (3.0, 0.8, 0.8), GridSettings(256))[0]
    rows = 256 * 512 / 796  # 164.66 rows of image, the rest air, half above and half below
    covered = (out.astype(float) - AIR_HU).sum() / (50 - AIR_HU)
    assert covered == pytest.approx(rows * 256, rel=1e-3)
    assert (out[:45] == AIR_HU).all() and (out[-45:] == AIR_HU).all()
    assert (out[47:-47] == 50).all()
    assert np.array_equal(out, out[::-1]) and np.array_equal(out, out[:, ::-1])


def test_anisotropic_pixels_become_square() -> None:
    # 32 x 32 pixels of 2 x 1 mm: a field of 64 x 32 mm, in 16 x 16 pixels of 4 mm the middle 8 columns
    out = to_network(np.full((1, 32, 32), 100, np.int16), (1.0, 2.0, 1.0), GridSettings(16))[0]
    expected = np.full((16, 16), AIR_HU)
    expected[:, 4:12] = 100
    assert np.array_equal(out, expected)


def test_a_fixed_pixel_crops_and_pads_around_the_center() -> None:
    image = np.zeros((1, 64, 8), np.int16)
    image[0, 31:33, 3:5] = 800
    out = to_network(image, (1.0, 1.0, 1.0), GridSettings(16, 1.0))[0]
    assert (out[:, :4] == AIR_HU).all() and (out[:, 12:] == AIR_HU).all()  # 8 columns, padded
    assert np.array_equal(out[:, 4:12], image[0, 24:40])  # 64 rows, cropped


@pytest.mark.parametrize("shape", [(101, 101), (512, 512), (122, 101), (37, 64), (1, 1)])
def test_a_constant_image_stays_constant_up_and_down(shape: tuple[int, int]) -> None:
    square = max(shape)
    image = np.full((1, square, square), -137, np.int16)
    assert (to_network(image, (1.0, 3.0, 3.0), GridSettings(256)) == -137).all()
    labels = np.full((1, square, square), 2, np.uint8)
    assert (labels_to_network(labels, (1.0, 3.0, 3.0), GridSettings(256)) == 2).all()


def test_a_small_field_is_interpolated_in_a_straight_line() -> None:
    ramp = np.tile(np.arange(101, dtype=np.int16) * 10, (1, 101, 1))
    out = to_network(ramp, (1.0, 3.0, 3.0), GridSettings(256))[0]
    position = np.clip((np.arange(256) + 0.5) * 101 / 256 - 0.5, 0, 100)
    assert np.abs(out - position * 10).max() <= 0.51


def test_no_slices_and_slices_without_labels() -> None:
    assert to_network(np.zeros((0, 8, 8), np.int16), (1.0, 1.0, 1.0), GridSettings(16)).shape == (0, 16, 16)
    labels = labels_to_network(np.zeros((3, 8, 8), np.uint8), (1.0, 1.0, 1.0), GridSettings(16))
    assert labels.shape == (3, 16, 16) and labels.dtype == np.uint8 and not labels.any()


def test_labels_go_by_the_largest_share_and_ties_to_the_higher_label() -> None:
    blocks = {  # four source pixels of one network pixel -> label
        (0, 0, 1, 1): 1,
        (0, 0, 0, 1): 0,
        (0, 1, 1, 2): 1,
        (0, 0, 1, 2): 0,
        (1, 1, 2, 2): 2,
        (0, 0, 2, 2): 2,
        (0, 2, 2, 2): 2,
        (3, 3, 1, 0): 3,
    }
    labels = np.zeros((1, 32, 32), np.uint8)
    for k, block in enumerate(blocks):
        labels[0, 0:2, 2 * k : 2 * k + 2] = np.reshape(block, (2, 2))
    out = labels_to_network(labels, (1.0, 1.0, 1.0), GridSettings(16))[0]
    assert out[0, : len(blocks)].tolist() == list(blocks.values())
    assert not out[1:].any()


def test_thirds_tie_to_the_higher_label_in_spite_of_rounding() -> None:
    # 3 x 3 source pixels a network pixel; rows of 0, 1 and 2: shares of 1/3 each
    labels = np.tile(np.array([0, 1, 2], np.uint8)[:, None], (16, 48))[None]
    assert (labels_to_network(labels, (1.0, 1.0, 1.0), GridSettings(16)) == 2).all()


def test_labels_and_image_lie_on_one_grid() -> None:
    labels = np.zeros((1, 90, 120), np.uint8)
    labels[0, 20:50, 30:100] = 1
    image = np.where(labels == 1, 1000, AIR_HU).astype(np.int16)
    for settings in (GridSettings(64), GridSettings(64, 1.1), GridSettings(256)):
        hu = to_network(image, (1.0, 0.7, 0.9), settings)
        assert ((hu > 0) == (labels_to_network(labels, (1.0, 0.7, 0.9), settings) == 1)).mean() > 0.999


def test_shares_worked_out_by_hand() -> None:
    labels = np.zeros((2, 32, 32), np.uint8)
    labels[0, 0:2, 0:2] = [[1, 2], [2, 0]]  # one network pixel: a quarter of each but two of tumor
    labels[0, 0, 2:4] = 1
    shares = shares_to_network(labels, (5.0, 1.0, 1.0), GridSettings(16))
    assert shares.shape == (2, 16, 16, 3) and shares.dtype == np.float32
    assert shares[0, 0, 0] == pytest.approx([0.25, 0.25, 0.5])
    assert shares[0, 0, 1] == pytest.approx([0.5, 0.5, 0.0])
    assert (shares[0, 1:, :, 0] == 1).all() and (shares[1, ..., 0] == 1).all() and not shares[1, ..., 1:].any()


def test_shares_add_up_and_agree_with_the_labels_of_the_same_grid() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, (2, 70, 90)).astype(np.uint8).repeat(2, axis=1)
    for settings in (GridSettings(32), GridSettings(32, 2.0), GridSettings(256)):
        shares = shares_to_network(labels, (3.0, 0.7, 0.9), settings)
        assert shares.sum(axis=-1) == pytest.approx(np.ones(shares.shape[:3]), abs=1e-5)
        assert shares.min() > -1e-5
        clear = np.ptp(np.sort(shares, axis=-1)[..., 1:], axis=-1) > 1e-3  # the largest leads
        hard = labels_to_network(labels, (3.0, 0.7, 0.9), settings)
        assert (shares.argmax(axis=-1) == hard)[clear].all() and clear.mean() > 0.5


def test_shares_of_labels_that_have_no_class_are_refused() -> None:
    with pytest.raises(ValueError, match="label 3"):
        shares_to_network(np.full((1, 16, 16), 3, np.uint8), (1.0, 1.0, 1.0), GridSettings(16))
    assert shares_to_network(np.zeros((0, 16, 16), np.uint8), (1.0, 1.0, 1.0), GridSettings(16)).shape == (0, 16, 16, 3)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("name", ["case_00004", "case_00032", "case_00044"])
def test_real_labels_survive_the_way_there_and_back(shared_data: Path, name: str) -> None:
    volume = read_labels(shared_data / "kits19_labels" / name / "segmentation.nii.gz")
    settings = GridSettings(256)
    slices = volume.voxels[volume.voxels.any(axis=(1, 2))]
    hard = np.eye(3, dtype=np.float32)[labels_to_network(slices, volume.spacing_mm, settings)]
    soft = shares_to_network(slices, volume.spacing_mm, settings)
    # hard labels cannot say where inside a pixel the border runs; measured .981 to .984 and .964 to .983
    for prob, kidney, tumor in ((hard, 0.98, 0.96), (soft, 0.995, 0.99)):
        back = probabilities_to_labels(prob, slices.shape, volume.spacing_mm, settings)
        assert dice(back > 0, slices > 0) >= kidney
        assert dice(back == 2, slices == 2) >= tumor


def test_outside_the_networks_field_is_background() -> None:
    prob = np.zeros((1, 16, 16, 3), np.float32)
    prob[..., 1] = 1
    back = probabilities_to_labels(prob, (1, 40, 20), (1.0, 1.0, 1.0), GridSettings(16, 1.0))
    expected = np.zeros((40, 20), np.uint8)
    expected[12:28, 2:18] = 1
    assert np.array_equal(back[0], expected)


def test_probabilities_are_interpolated_not_labels() -> None:
    # background .6 | kidney .9: interpolated in a line, kidney leads from 1/8 (= .1 / .8) of the way on
    prob = np.zeros((1, 16, 16, 2), np.float32)
    prob[:, :, :8] = (0.6, 0.4)
    prob[:, :, 8:] = (0.1, 0.9)
    back = probabilities_to_labels(prob, (1, 160, 160), (1.0, 1.0, 1.0), GridSettings(16))[0]
    # p1 - p0 runs from -.2 (center at 75) to .8 (center at 85): zero at 77; pixel centers at 76.5, 77.5
    assert back[80, 76] == 0 and back[80, 77] == 1
    assert (back[:, :77] == 0).all() and (back[:, 77:] == 1).all()


def test_probabilities_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        probabilities_to_labels(np.zeros((2, 16, 16, 3), np.float32), (1, 16, 16), (1, 1, 1), GridSettings(16))


def test_two_hundred_slices_take_seconds() -> None:
    image = np.zeros((200, 512, 512), np.int16)
    start = time.process_time()
    to_network(image, (1.0, 0.8, 0.8), GridSettings(256))
    assert time.process_time() - start < 15  # of the processor: two on a usual one


@pytest.mark.parametrize("size", [16, 64, 256])
@pytest.mark.parametrize("mm", [0.78162497, 1 / 3, 0.9765625])
def test_halving_is_bit_for_bit_what_the_matrices_give(size: int, mm: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(size)
    spacing_mm, settings = (3.0, mm, mm), GridSettings(size)
    image = rng.integers(-32768, 32767, (2, 2 * size, 2 * size), endpoint=True).astype(np.int16)
    labels = rng.integers(0, 4, image.shape).astype(np.uint8)
    labels[0, :11] = labels[0, 21:] = 0  # a few rows in the middle
    used = []
    halve = grid._halve
    monkeypatch.setattr(grid, "_halve", lambda plane: used.append(1) or halve(plane))
    quick = to_network(image, spacing_mm, settings), labels_to_network(labels, spacing_mm, settings)
    assert used
    mean = image.reshape(2, size, 2, size, 2).astype(np.float64).mean(axis=(2, 4))
    assert np.array_equal(quick[0], np.rint(mean))
    monkeypatch.setattr(grid, "_is_halving", lambda *_: False)
    assert np.array_equal(quick[0], to_network(image, spacing_mm, settings))
    assert np.array_equal(quick[1], labels_to_network(labels, spacing_mm, settings))
