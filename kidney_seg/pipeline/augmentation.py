"""Augmentation of training slices: pasted tumors, narrow fields, elastic and affine deformation, HU, blur, noise.

`draw_changes` draws the parameters of every slice beforehand; the other functions apply them. So the augmentation of a
sample is independent of threads, of the order of batches and of what ran before.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from kidney_seg.config.data import DataConfig

if TYPE_CHECKING:
    import tensorflow as tf

AIR_HU = -1000.0
NO_TRANSFORM = np.array([1, 0, 0, 0, 1, 0, 0, 0], np.float32)
NO_HU_CHANGE = np.array([1, 0], np.float32)
NO_GRAY_CHANGE = np.array([0, 1, 0], np.float32)
BEND, PASTE = 1, 2  # streams of random numbers of a slice's seed; its noise uses the seed alone
PASTE_SCALE = 1.3  # pasted tumors are resized by 1 / this to this
NARROWEST = (0.6, 0.95)  # sides of a cut field, as shares of the slice's
KNOTS = 5  # per axis of the elastic grid, edge to edge: a quarter of the field apart, about a kidney


def affine_transforms(
    size: int,
    shift_px: np.ndarray,
    scale: np.ndarray,
    rotation_deg: np.ndarray,
    flip: np.ndarray,
) -> np.ndarray:
    """Return float32 [n, 8] transforms about the slice's center from arguments of n rows.

    A slice is mirrored left to right where `flip`, then enlarged by `scale`, turned by `rotation_deg` (from +x toward
    +y, clockwise on the screen) and moved by `shift_px` [n, 2] (x, y).

    >>> affine_transforms(64, np.zeros((1, 2)), np.ones(1), np.zeros(1), np.zeros(1, bool))[0].tolist()
    [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """
    center = (size - 1) / 2
    cos, sin = np.cos(np.deg2rad(rotation_deg)) / scale, np.sin(np.deg2rad(rotation_deg)) / scale
    mirror = np.where(flip, -1.0, 1.0)
    a0, a1, a3, a4 = mirror * cos, mirror * sin, -sin, cos  # the inverse: output back to source
    moved_x, moved_y = center + shift_px[:, 0], center + shift_px[:, 1]
    a2, a5 = center - a0 * moved_x - a1 * moved_y, center - a3 * moved_x - a4 * moved_y
    zero = np.zeros_like(a0)
    return (np.stack([a0, a1, a2, a3, a4, a5, zero, zero], axis=1) + 0.0).astype(np.float32)


def draw_changes(
    rng: np.random.Generator, count: int, size: int, config: DataConfig, middle_hu: float
) -> dict[str, np.ndarray]:
    """Draw the changes of `count` slices of `size` pixels, as columns of `Samples`; contrast is about `middle_hu`."""

    def uniform(limit: float, columns: tuple[int, ...] = ()) -> np.ndarray:
        return rng.uniform(-limit, limit, (count, *columns))

    drawn = {}
    drawn["transforms"] = affine_transforms(
        size,
        shift_px=uniform(config.shift * size, (2,)),
        scale=1.0 + uniform(config.scale),
        rotation_deg=uniform(config.rotation_deg),
        flip=rng.random(count) < config.flip,
    )
    factor = 1.0 + uniform(config.contrast)
    offset = middle_hu * (1.0 - factor) + uniform(config.brightness_hu)
    drawn["hu_linear"] = np.stack([factor, offset], axis=1).astype(np.float32)
    drawn["gray"] = np.tile(NO_GRAY_CHANGE, (count, 1))
    drawn["bend_px"], drawn["seed"] = np.zeros(count, np.float32), np.zeros(count, np.int64)
    if config.blur_px or config.gamma_change or config.noise_hu:
        # half of the slices keep their sharpness, half their noise: the network still sees slices as they are
        blur, noise = (np.maximum(uniform(limit), 0.0) for limit in (config.blur_px, config.noise_hu))
        power = (1.0 + config.gamma_change) ** uniform(1.0)
        drawn["gray"] = np.stack([blur, power, noise], axis=1).astype(np.float32)
        drawn["seed"] = rng.integers(2**32, size=count)
    if config.elastic_px or config.tumor_paste:
        drawn["bend_px"] = np.maximum(uniform(config.elastic_px), 0.0).astype(np.float32)
        drawn["seed"] = rng.integers(2**32, size=count)
    drawn["field"] = np.ones(count, np.float32)
    if config.narrow_field:
        narrow = rng.random(count) < config.narrow_field
        drawn["field"] = np.where(narrow, rng.uniform(*NARROWEST, count), 1).astype(np.float32)
    return drawn


def is_still(columns: Mapping[str, np.ndarray]) -> bool:
    """Return whether no slice has an affine change or a change of its HU or gray values."""
    kept = {"transforms": NO_TRANSFORM, "hu_linear": NO_HU_CHANGE, "gray": NO_GRAY_CHANGE}
    return all(bool((columns[name] == value).all()) for name, value in kept.items())


def paste_tumor(
    image: np.ndarray, label: np.ndarray, donor_image: np.ndarray, donor_label: np.ndarray, seed: int
) -> None:
    """Paste the tumor of a donor's slice into a slice, in place; a slice without kidney stays unchanged.

    The tumor is turned by any angle and resized by up to PASTE_SCALE; its center is a random pixel of healthy kidney,
    its edge is blended over a pixel. Images: float32 [size, size, channels] in HU; labels: uint8 [size, size, 1], the
    donor's with some tumor. Source: Yang et al., TumorCP, MICCAI 2021, who tested it on KiTS19.
    """
    from scipy.ndimage import map_coordinates

    kidney = np.argwhere(label[..., 0] == 1)
    if not len(kidney):
        return
    rng = np.random.default_rng([seed, PASTE])
    tumor = (donor_label[..., 0] == 2).astype(np.float32)
    angle, scale = rng.uniform(0, 2 * np.pi), PASTE_SCALE ** rng.uniform(-1, 1)
    back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    center, place = np.argwhere(tumor).mean(axis=0), kidney[rng.integers(len(kidney))]
    off = np.indices(tumor.shape) - place[:, None, None]
    source = np.tensordot(back, off, axes=1) + center[:, None, None]
    share = map_coordinates(tumor, source, order=1)
    for channel in range(image.shape[-1]):
        donated = map_coordinates(donor_image[..., channel], source, order=1, cval=AIR_HU)
        image[..., channel] += share * (donated - image[..., channel])
    label[share > 0.5] = 2


def cut_field(image: np.ndarray, label: np.ndarray, field: np.ndarray) -> None:
    """Cut slices to a square about their center, in place; outside is air and background.

    field: side of the square as a share of the slice's side, [n]; 1 leaves a slice unchanged. Arrays as for `bend`.
    So a network does not learn that only slices of one source have air around a narrow field.
    """
    size = image.shape[1]
    for picture, truth, side in zip(image, label, field, strict=True):
        edge = round(size * (1 - float(side)) / 2)
        for rows in (np.s_[:edge], np.s_[size - edge :], np.s_[:, :edge], np.s_[:, size - edge :]):
            picture[rows], truth[rows] = AIR_HU, 0


def bend(image: np.ndarray, label: np.ndarray, bend_px: np.ndarray, seed: np.ndarray) -> None:
    """Deform slices elastically, in place: `image` float32 [n, size, size, channels], `label` uint8 [n, size, size, 1].

    The field of offsets is a cubic spline over KNOTS x KNOTS knots with normal offsets of standard deviation `bend_px`
    (pixels, [n]; 0 leaves a slice unchanged). Interpolation and values outside are those of `apply_changes`.
    Source: Ronneberger et al., U-Net, 2015, section 3.1, with 3 x 3 knots.
    """
    from scipy.ndimage import map_coordinates

    size = image.shape[1]
    places, spline = np.indices((size, size), np.float32), _spline(size)
    for picture, truth, deviation, own in zip(image, label, bend_px, seed, strict=True):
        if not deviation:
            continue
        offsets = deviation * np.random.default_rng([own, BEND]).standard_normal((2, KNOTS, KNOTS))
        source = places + spline @ offsets @ spline.T
        for channel in range(picture.shape[-1]):
            picture[..., channel] = map_coordinates(picture[..., channel], source, order=1, cval=AIR_HU)
        truth[..., 0] = map_coordinates(truth[..., 0], source, order=0)


def apply_changes(
    image: tf.Tensor, label: tf.Tensor, transforms: tf.Tensor, hu_linear: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Resample a batch and change its HU linearly, in the TensorFlow graph; returns the same shapes and types.

    `image`: float32 [batch, size, size, channels] in HU; `label`: uint8 [batch, size, size, 1]. Outside of the slice is
    air (-1000 HU) and background. Images are interpolated linearly, labels to the nearest pixel.
    """
    import tensorflow as tf

    def resample(pixels: tf.Tensor, interpolation: str, fill: float) -> tf.Tensor:
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=pixels,
            transforms=transforms,
            output_shape=tf.shape(pixels)[1:3],
            interpolation=interpolation,
            fill_mode="CONSTANT",
            fill_value=fill,
        )

    factor, offset = hu_linear[:, 0, None, None, None], hu_linear[:, 1, None, None, None]
    image = resample(image, "BILINEAR", AIR_HU) * factor + offset
    return image, resample(label, "NEAREST", 0.0)


@lru_cache(maxsize=4)
def _spline(size: int) -> np.ndarray:
    """Return the weights [size, KNOTS] of a cubic spline's knots at each pixel along an edge."""
    from scipy.ndimage import map_coordinates

    places = np.linspace(0, KNOTS - 1, size)[None]
    return np.stack([map_coordinates(knot, places, order=3, mode="nearest") for knot in np.eye(KNOTS)], axis=1)


def change_gray(image: np.ndarray, gray: np.ndarray, seed: np.ndarray, window: tuple[float, float]) -> None:
    """Change the gray values of a batch in place: `image` float32 [batch, size, size, channels] in HU.

    In this order: Gaussian blur; a power of the gray values in the `window`, scaled to 0..1 (values outside of it stay
    unchanged); Gaussian noise, drawn for each channel.
    """
    from scipy.ndimage import gaussian_filter

    low, high = window
    for slab, (blur, power, noise), own in zip(image, gray, seed, strict=True):
        if blur:
            for channel in range(slab.shape[-1]):
                slab[..., channel] = gaussian_filter(slab[..., channel], blur, mode="nearest")
        if power != 1:
            inside = np.clip((slab - low) / (high - low), 0, 1)
            slab += (inside**power - inside) * (high - low)
        if noise:
            slab += noise * np.random.default_rng(own).standard_normal(slab.shape, np.float32)
