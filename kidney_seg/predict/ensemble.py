"""Average the probabilities of several networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.predict.predictor import Forward
from kidney_seg.predict.test_time_augmentation import shares, views_of


def combined(
    networks: Sequence[tuple[Forward, Sequence[float]]], settings: PredictionConfig, activation: str
) -> Forward:
    """Return several networks, each with the odds that its model has, as one, with odds and views of `settings`.

    Averaged, over networks and views, is what they say without odds. The odds are those of the average: a tumor that
    one of them sees shall count, however little the others see of it. activation: of the heads.
    """
    trained = [with_factors(network, [1 / factor for factor in odds], activation) for network, odds in networks]
    return with_factors(averaged(trained, settings.flips, settings.zooms), settings.odds, activation)


def with_factors(forward: Forward, factors: Sequence[float], activation: str) -> Forward:
    """Return the network with the odds of its classes multiplied, as `model.logit_adjustment` does it in a model.

    activation: of the heads. Factors of 1 return it as it is.
    """
    if all(factor == 1 for factor in factors):
        return forward
    weights = np.asarray(factors, np.float32)

    def multiplied(batch: np.ndarray) -> np.ndarray:
        prob = forward(batch)
        made = prob * weights
        return made / (made.sum(axis=-1, keepdims=True) if activation == "softmax" else made + 1 - prob)

    return multiplied


def averaged(networks: Sequence[Forward], flips: str = "none", zooms: Sequence[float] = (1.0,)) -> Forward:
    """Return the mean of several networks' probabilities, each seeing the slices as they are, mirrored and enlarged.

    flips, zooms: as in `PredictionConfig`; probabilities are mirrored and resized back. Where an enlarged slice does
    not reach, the others count. One network without views is returned as it is.
    """
    if len(networks) == 1 and flips == "none" and tuple(zooms) == (1.0,):
        return networks[0]

    def forward(batch: np.ndarray) -> np.ndarray:
        views = views_of(flips, zooms, batch.shape[1])
        total = np.zeros((), np.float32)
        for view in views:
            seen = view.there(batch)
            for network in networks:
                total = total + view.back(network(seen))
        return total / (shares(views) * np.float32(len(networks)))

    return forward
