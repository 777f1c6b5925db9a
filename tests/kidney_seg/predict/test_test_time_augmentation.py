"""Views of a slice: what the network sees of it, and where what it says belongs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from data_prep.geometry.resampling import AIR_HU
from kidney_seg.config.prediction import FLIPS, PredictionConfig
from kidney_seg.predict.averaging import combined
from kidney_seg.predict.test_time_augmentation import total_coverage, tta_views

SIZE = 32
INNER = slice(6, -6)


def slices(channels: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(50, 100, (3, SIZE, SIZE, channels)).astype(np.float32)


def view(zoom: float, flips: str = "none"):
    return tta_views(flips, (1.0, zoom), SIZE)[-1]


@pytest.mark.parametrize(("zoom", "resized"), [(1.25, 40), (1.5, 48), (0.75, 24), (0.5, 16)])
def test_resized_as_tensorflow_does_it(zoom, resized):
    batch = slices()
    expected = tf.image.resize(batch, (resized, resized), "bilinear")  # without anti-aliasing, pixel centers
    if zoom > 1:
        expected = tf.image.resize_with_crop_or_pad(expected, SIZE, SIZE)
    else:
        expected = tf.image.resize_with_crop_or_pad(expected - AIR_HU, SIZE, SIZE) + AIR_HU
    np.testing.assert_allclose(view(zoom).apply(batch), expected, atol=2e-3)


@pytest.mark.parametrize("flips", FLIPS)
@pytest.mark.parametrize("zoom", [1.25, 0.75])
def test_comes_back_to_where_it_was(zoom, flips):
    # linear interpolation keeps ramps as they are, but for the ends
    ramps = np.stack(np.indices((SIZE, SIZE)), axis=-1)[None].astype(np.float32)
    one = view(zoom, flips)
    back = one.invert(one.apply(ramps))
    np.testing.assert_allclose(back[:, INNER, INNER], ramps[:, INNER, INNER], atol=1e-3)


def test_a_view_counts_as_far_as_it_reaches():
    one = view(1.25)
    share = one.coverage[..., 0]
    np.testing.assert_allclose(one.invert(np.ones((1, SIZE, SIZE, 1), np.float32))[0, ..., 0], share, atol=1e-6)
    assert (share[4:-4, 4:-4] == 1).all()  # 32 / 1.25 = 25.6 pixels are seen
    assert not share[:3].any() and not share[:, -3:].any()
    np.testing.assert_allclose(view(0.75).coverage, 1, atol=1e-6)
    np.testing.assert_allclose(total_coverage(tta_views("both", (1.0, 0.75), SIZE)), 8, atol=1e-5)


def test_probabilities_stay_probabilities_and_lie_where_the_slices_say():
    def bright(batch: np.ndarray) -> np.ndarray:
        made = np.float32(batch[..., :1] > 100)
        return np.concatenate([1 - made, made], axis=-1)

    batch = np.zeros((1, SIZE, SIZE, 1), np.float32)
    batch[0, 9:15, 18:26], batch[0, 0, 0] = 200, 200  # one of them where an enlarged slice does not reach
    both = PredictionConfig(flips="both", zooms=(0.8, 1.0, 1.25))
    made = combined([(bright, (1, 1))] * 2, both, "softmax", SIZE)(batch)
    np.testing.assert_allclose(made.sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_array_equal(made[0, 4:, 4:, 1] > 0.5, batch[0, 4:, 4:, 0] > 100)
    assert made[0, 0, 0, 1] > 0.5
    seen = []
    combined([(lambda one: seen.append(one) or bright(one), (1, 1))], PredictionConfig(), "softmax", SIZE)(batch)
    assert len(seen) == 1 and seen[0] is batch  # without views nothing is touched
