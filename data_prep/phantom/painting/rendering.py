"""From a painted trunk to the image: the labels' own edges, in the image's own voxels, slice by slice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from data_prep.geometry.network_grid import (
    SIZE_STEP,
    GridSettings,
    network_pixel_mm,
    resampling_matrix,
    shares_to_network,
)
from data_prep.phantom.painting.appearance import PLAIN_APPEARANCE, Appearance
from data_prep.phantom.painting.scene import Scene

CANVAS_SIZE, CANVAS_MM = 256, 2.5  # trunks are painted no finer than this, in plane and along z, and interpolated
BLUR_MM = 0.7  # of the edges between labels, where their grid is finer than what a scanner resolves
_TIE = 1e-5  # of equal shares the higher label wins, as on the network's grid


@dataclass(frozen=True)
class Target:
    """The image's grid over a label map: `merged` label slices become one, in plane `settings` or the labels' own.

    labels: uint8 [z, y, x], 0 background, 1 kidney, 2 tumor; their slices are a multiple of `merged`.
    """

    labels: np.ndarray
    label_spacing_mm: tuple[float, float, float]
    merged: int = 1
    settings: GridSettings | None = None

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        plane = self.labels.shape[1:] if self.settings is None else 2 * (self.settings.size,)
        return (len(self.labels) // self.merged, *plane)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        plane = self.label_spacing_mm[1:]
        if self.settings is not None:
            plane = 2 * (network_pixel_mm(self.labels.shape[1:], plane, self.settings),)
        return (self.label_spacing_mm[0] * self.merged, *plane)

    @property
    def canvas_settings(self) -> GridSettings:
        """The pixels to paint on: as many as the image has, up to what is worth the time."""
        pixels = max(self.shape_zyx[1:])
        return GridSettings(min(CANVAS_SIZE, SIZE_STEP * math.ceil(pixels / SIZE_STEP)))

    @property
    def canvas_shape_zyx(self) -> tuple[int, int, int]:
        slices, mm = self.shape_zyx[0], self.spacing_mm[0]
        return (min(slices, max(2, math.ceil(slices * mm / CANVAS_MM))), *2 * (self.canvas_settings.size,))

    @property
    def canvas_spacing_mm(self) -> tuple[float, float, float]:
        pixel = network_pixel_mm(self.labels.shape[1:], self.label_spacing_mm[1:], self.canvas_settings)
        return (self.shape_zyx[0] * self.spacing_mm[0] / self.canvas_shape_zyx[0], pixel, pixel)

    def shares(self, k: int, settings: GridSettings | None) -> np.ndarray | None:
        """Return how much of each pixel of slice k kidney and tumor cover, float32 [y, x, 2]; None for nothing.

        settings: the pixels; None for the labels' own.
        """
        slab = self.labels[k * self.merged : (k + 1) * self.merged]
        if not slab.any():
            return None
        if settings is None:
            return np.stack([(slab == value).mean(axis=0, dtype=np.float32) for value in (1, 2)], axis=-1)
        return shares_to_network(slab, self.label_spacing_mm, settings).mean(axis=0)[..., 1:]

    def image_labels(self) -> np.ndarray:
        """Return the labels on the image's grid: of each voxel the one that covers most of it."""
        if self.merged == 1 and self.settings is None:
            return self.labels
        out = np.zeros(self.shape_zyx, np.uint8)
        for k, target in enumerate(out):
            shares = self.shares(k, self.settings)
            if shares is not None:
                target[...] = largest(shares)
        return out

    def canvas_labels(self) -> np.ndarray:
        """Return the labels on the canvas."""
        shape, mm = self.canvas_shape_zyx, self.canvas_spacing_mm[0]
        by_z = resampling_matrix(self.shape_zyx[0], self.spacing_mm[0], shape[0], mm)
        total = np.zeros((*shape, 2), np.float32)
        for k in range(self.shape_zyx[0]):
            shares = self.shares(k, self.canvas_settings)
            if shares is not None:
                for row in np.flatnonzero(by_z[:, k]):
                    total[row] += by_z[row, k] * shares
        return largest(total)


def largest(shares: np.ndarray) -> np.ndarray:
    """Return the label of the largest share, uint8 [...]: of background (the rest), kidney, tumor in [..., 2].

    >>> largest(np.array([[0.5, 0.0], [0.3, 0.3], [0.2, 0.2], [0.3, 0.5]])).tolist()
    [1, 0, 0, 2]
    """
    kidney, tumor = shares[..., 0], shares[..., 1]
    rest = 1 - kidney - tumor
    label = (kidney >= rest - _TIE).astype(np.uint8)
    label[tumor >= np.maximum(kidney, rest) - _TIE] = 2
    return label


def render(
    scene: Scene, target: Target, noise_hu: float, rng: np.random.Generator, look: Appearance = PLAIN_APPEARANCE
) -> np.ndarray:
    """Return the image, int16 HU [z, y, x], of a scene on the target's grid, with noise of that standard deviation.

    look: how much the image is blurred, and the grain of its noise.
    """
    from scipy.ndimage import gaussian_filter
    from scipy.sparse import csr_array

    slices, *plane = target.shape_zyx
    mm, canvas_mm = target.spacing_mm, target.canvas_spacing_mm
    canvas_shape = target.canvas_shape_zyx
    by_z, by_y, by_x = (
        csr_array(resampling_matrix(canvas_shape[k], canvas_mm[k], target.shape_zyx[k], mm[k])) for k in range(3)
    )
    same_plane = canvas_shape[1:] == tuple(plane) and canvas_mm[1:] == mm[1:]

    def at(k: int, volume: np.ndarray) -> np.ndarray:
        start, end = by_z.indptr[k : k + 2]
        flat = sum(w * volume[row] for row, w in zip(by_z.indices[start:end], by_z.data[start:end], strict=True))
        return flat if same_plane else (by_x @ (by_y @ flat).T).T

    blur = partial(gaussian_filter, sigma=[BLUR_MM / edge for edge in mm[1:]], mode="nearest")
    image = np.empty(target.shape_zyx, np.int16)
    for k in range(slices):
        hu = at(k, scene.background)
        shares = target.shares(k, target.settings)
        if shares is not None:
            kidney, tumor = (shares[..., c] if min(mm[1:]) > 2 * BLUR_MM else blur(shares[..., c]) for c in (0, 1))
            hu = hu + kidney * (at(k, scene.kidney) - hu) + tumor * (at(k, scene.tumor) - hu)
        if look.blur_mm:
            hu = gaussian_filter(hu, [look.blur_mm / edge for edge in mm[1:]], mode="nearest")
        grain = [max(look.grain_mm / edge, 0.3) for edge in mm[1:]]
        noise = gaussian_filter(rng.standard_normal(plane, dtype=np.float32), grain, mode="nearest")
        image[k] = np.clip(np.rint(hu + noise * (noise_hu / noise.std())), -1024, 3071)
    return image
