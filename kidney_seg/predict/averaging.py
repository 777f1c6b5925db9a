"""Average the probabilities of several networks and views of a slice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from data_prep.geometry.resampling import NUMPY, Array, ArrayOps
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.predict.test_time_augmentation import View, total_coverage, tta_views


def multiply_class_odds(prob: Array, factors: Sequence[float], activation: str, xp: ArrayOps = NUMPY) -> Array:
    """Return probabilities [..., classes] with the odds of each class multiplied, as `set_class_odds` does.

    activation: of the heads. Factors of 1 return `prob` itself.
    """
    if all(factor == 1 for factor in factors):
        return prob
    made = prob * np.asarray(factors, np.float32)
    return made / (xp.sum(made) if activation == "softmax" else made + 1 - prob)


def combined(
    networks: Sequence[tuple[Any, Sequence[float]]],
    settings: PredictionConfig,
    activation: str,
    size: int,
    xp: ArrayOps = NUMPY,
    run: Callable[[Any, list[Array]], Iterable[Array]] = map,
) -> Callable[[Array], Array]:
    """Return several networks as one, with the class odds and the views of `settings`.

    Averaged, over networks and views, are probabilities without class odds. The odds are applied to the average: a
    tumor that one network sees shall count, however little the others see of it. Where an enlarged view does not
    reach, the others count. With `views_from`, slices that are background in their unchanged view are not seen in
    the others: their probabilities are those of that view.

    Args:
        networks: Each with the class odds that its model was saved with.
        settings: Class odds, flips and zooms of the prediction.
        activation: Of the heads.
        size: Of the slices, in pixels.
        xp: Operations of the arrays.
        run: Gives the probabilities of each view of a batch, from a network and the list of views.
    """
    views = tta_views(settings.flips, settings.zooms, size)
    views.sort(key=lambda view: view.forward_matrix is not None)  # the unchanged view comes first

    def add_views(some: Sequence[View], images: Array, total: Any = None) -> Array:
        seen = [view.apply(images, xp) for view in some]
        for view, *probs in zip(some, *(run(network, seen) for network, _ in networks), strict=True):
            for prob, (_, class_odds) in zip(probs, networks, strict=True):
                trained = multiply_class_odds(prob, [1 / factor for factor in class_odds], activation, xp)
                part = view.invert(trained, xp)
                total = part if total is None else total + part
        return total

    def mean(total: Array, some: Sequence[View]) -> Array:
        if len(networks) * len(some) > 1:
            total = total / (total_coverage(some) * np.float32(len(networks)))
        return multiply_class_odds(total, settings.odds, activation, xp)

    def forward(images: Array) -> Array:
        if len(views) == 1 or not settings.views_from:
            return mean(add_views(views, images), views)
        total = add_views(views[:1], images)
        prob = mean(total, views[:1])
        foreground = xp.max(1 - xp.take(prob, 0, -1), (1, 2))
        kept = xp.flatnonzero(foreground >= np.float32(settings.views_from))
        total = add_views(views[1:], xp.take(images, kept, 0), xp.take(total, kept, 0))
        return xp.put(prob, kept, mean(total, views))

    return forward
