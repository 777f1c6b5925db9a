"""Smooth class probabilities along z, slab by slab."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

_TRUNCATE = 4.0  # standard deviations at which the Gaussian ends


def smooth_along_z(
    slabs: Iterable[np.ndarray], slices: int, spacing_mm: float, sigma_mm: float
) -> Iterator[np.ndarray]:
    """Yield the probabilities of a scan convolved with a Gaussian along z, in order, as soon as they are known.

    Equal to `scipy.ndimage.gaussian_filter1d(whole, sigma_mm / spacing_mm, axis=0, mode="nearest")` up to rounding:
    beyond either end, the last slice is repeated. Only the slices that the Gaussian still needs are held: four standard
    deviations on either side. Probabilities that add up to 1 still do.

    Args:
        slabs: float32 [n, y, x, classes], the slices in order, in pieces of any length.
        slices: their number in all.
        spacing_mm: between two slices.
        sigma_mm: the standard deviation; 0 yields the slabs as they are.

    Yields:
        float32 [m, y, x, classes], at least one slice each and `slices` in all.
    """
    sigma = sigma_mm / spacing_mm  # in slices
    reach = int(_TRUNCATE * sigma + 0.5)
    if reach == 0:
        yield from slabs
        return
    from scipy.ndimage import gaussian_filter1d

    # [slices, slices]: row k has the weights of the given slices in slice k
    weights = gaussian_filter1d(np.eye(slices), sigma, axis=0, mode="nearest", truncate=_TRUNCATE).astype(np.float32)
    held: list[np.ndarray] = []  # the slices from `start`, one by one
    start = done = 0
    for slab in slabs:
        held.extend(slab)
        known = start + len(held)
        ready = slices if known == slices else known - reach
        if ready > done:
            yield np.tensordot(weights[done:ready, start:known], np.stack(held), axes=1)
            done = ready
            unneeded = max(0, done - reach) - start
            del held[:unneeded]
            start += unneeded
