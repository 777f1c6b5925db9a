"""Random changes of training slices: one affine resample and one linear change of HU a slice.

All randomness is drawn beforehand, in numpy, from a generator that the caller seeds; what runs in the graph is fixed by
these parameters. So a sample's augmentation does not depend on threads, on batch order or on what ran before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kidney_seg.config import DataConfig

if TYPE_CHECKING:
    import tensorflow as tf

AIR_HU = -1000.0


@dataclass(frozen=True)
class Changes:
    """Parameters for n slices.

    `transforms` float32 [n, 8]: output pixel (x, y) takes from source (a0 x + a1 y + a2, a3 x + a4 y + a5), the form
    of TensorFlow's projective transform. `hu_linear` float32 [n, 2]: factor and offset, HU -> factor * HU + offset.
    """

    transforms: np.ndarray
    hu_linear: np.ndarray


def affine_transforms(
    size: int,
    shift_px: np.ndarray,
    scale: np.ndarray,
    rotation_deg: np.ndarray,
    flip: np.ndarray,
) -> np.ndarray:
    """Return [n, 8] transforms about the slice's center; arguments have n rows, `shift_px` two columns (x, y).

    The picture is mirrored left to right where `flip`, then enlarged by `scale`, turned by `rotation_deg` (from +x
    toward +y, that is clockwise on the screen) and moved by `shift_px`.

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


def draw_changes(rng: np.random.Generator, count: int, size: int, config: DataConfig, middle_hu: float) -> Changes:
    """Draw the changes of `count` slices of `size` pixels; contrast changes about `middle_hu`."""

    def uniform(limit: float, columns: tuple[int, ...] = ()) -> np.ndarray:
        return rng.uniform(-limit, limit, (count, *columns))

    transforms = affine_transforms(
        size,
        shift_px=uniform(config.shift * size, (2,)),
        scale=1.0 + uniform(config.scale),
        rotation_deg=uniform(config.rotation_deg),
        flip=rng.random(count) < config.flip,
    )
    factor = 1.0 + uniform(config.contrast)
    offset = middle_hu * (1.0 - factor) + uniform(config.brightness_hu)
    return Changes(transforms, np.stack([factor, offset], axis=1).astype(np.float32))


def apply_changes(
    image: tf.Tensor, label: tf.Tensor, transforms: tf.Tensor, hu_linear: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Change a batch in the TensorFlow graph.

    `image` float32 [batch, size, size, channels] in HU, `label` uint8 [batch, size, size, 1]; returns the same. Outside
    of the slice is air (-1000 HU) and background. Images are interpolated linearly, labels take the nearest pixel.
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
