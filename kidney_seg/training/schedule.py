"""The optimizer and its learning-rate schedule."""

from __future__ import annotations

import math

import keras

from kidney_seg.config.rounds import RoundsConfig

FINAL_RATE_SHARE = 0.01  # of the peak, at the end of a round (warm restarts: Loshchilov and Hutter, 2017)


def rate_at(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Return the learning rate of step `step` (from 0) of `steps`: linear warm-up, then half a cosine to 1 %.

    >>> [round(rate_at(step, 5, 1.0, 0.2), 2) for step in range(5)]
    [1.0, 1.0, 0.75, 0.26, 0.01]
    """
    warmup = int(steps * warmup_share)
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup - 1)
    return peak * (FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * (1 + math.cos(math.pi * share)) / 2)


def build_optimizer(config: RoundsConfig) -> keras.optimizers.Optimizer:
    """Return the optimizer of the settings; its rate is set before every step."""
    if config.optimizer == "sgd":
        return keras.optimizers.SGD(config.peak_rate, momentum=0.9, global_clipnorm=config.clipnorm)
    return keras.optimizers.Adam(config.peak_rate, global_clipnorm=config.clipnorm)
