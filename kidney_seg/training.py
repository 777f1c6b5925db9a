"""One network, compiled once, trained in rounds: every round starts from given weights with a fresh optimizer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np

from kidney_seg.config import Config, RoundsConfig
from kidney_seg.losses import build_losses
from kidney_seg.model import build_model
from kidney_seg.pipeline import Samples, SliceStore, training_dataset
from kidney_seg.predict import make_predictor

FINAL_RATE_SHARE = 0.01  # of the peak, at the end of a round (warm restarts: Loshchilov and Hutter, 2017)


def rate_at(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Return the learning rate of optimizer step `step` (from 0) of `steps`: linear warm-up, then half a cosine to 1 %.

    >>> [round(rate_at(step, 5, 1.0, 0.2), 2) for step in range(5)]
    [1.0, 1.0, 0.75, 0.26, 0.01]
    """
    warmup = int(steps * warmup_share)
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup - 1)
    return peak * (FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * (1 + math.cos(math.pi * share)) / 2)


def build_optimizer(config: RoundsConfig) -> keras.optimizers.Optimizer:
    """Return the optimizer that the settings name; the rate is set before every step."""
    if config.optimizer == "sgd":
        return keras.optimizers.SGD(config.peak_rate, momentum=0.9, global_clipnorm=config.clipnorm)
    return keras.optimizers.Adam(config.peak_rate, global_clipnorm=config.clipnorm)


class Trainer:
    """The network with its training step, traced at the first round and kept for all others.

    Between rounds the weights and the optimizer's variables are set in place: compiling again would cost some 20 s.
    """

    def __init__(self, config: Config):
        self.config = config
        self.model = build_model(config.model)
        losses, weights = build_losses(config.loss, config.model)
        self.model.compile(optimizer=build_optimizer(config.rounds), loss=losses, loss_weights=weights)
        self.model.optimizer.build(self.model.trainable_variables)
        self._fresh_optimizer = [variable.numpy() for variable in self.model.optimizer.variables]
        self.predict = make_predictor(self.model, config.prediction.slices_per_batch)

    def initialize(self, seed: int) -> None:
        """Give the network new random weights, which follow from `seed` alone."""
        keras.utils.set_random_seed(seed)
        self.model.set_weights(build_model(self.config.model).get_weights())

    def fit_round(
        self,
        store: SliceStore,
        epochs: Sequence[Samples],
        peak_rate: float,
        report: Callable[[dict], None] = lambda line: None,
    ) -> list[dict]:
        """Train on the samples of all `epochs`, from the weights as they are, with a fresh optimizer.

        Returns one row an epoch: `epoch`, `steps` so far in this round, `loss`, the loss of each head (None where it is
        not finite, which ends the round), `rate` at its end, `seconds`; `report` gets each row when it is ready.
        """
        for variable, value in zip(self.model.optimizer.variables, self._fresh_optimizer, strict=True):
            variable.assign(value)
        steps = len(epochs[0].case)
        watcher = _Watcher(self.config, steps, len(epochs), peak_rate, report)
        self.model.fit(
            training_dataset(store, epochs, self.config),
            steps_per_epoch=steps,
            epochs=len(epochs),
            shuffle=False,  # the samples come in the order that was drawn
            verbose=0,
            callbacks=[watcher],
        )
        return watcher.rows


class _Watcher(keras.callbacks.Callback):
    """Sets the rate before each step, notes each epoch, and ends the round at a loss that is not finite."""

    def __init__(self, config: Config, steps: int, epochs: int, peak_rate: float, report: Callable[[dict], None]):
        super().__init__()
        self.steps, self.total, self.peak_rate = steps, steps * epochs, peak_rate
        self.warmup_share, self.report = config.rounds.warmup_share, report
        self.rows: list[dict] = []
        self.done = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()

    def on_train_batch_begin(self, batch, logs=None):
        self.rate = rate_at(self.done, self.total, self.peak_rate, self.warmup_share)
        self.model.optimizer.learning_rate.assign(self.rate)
        self.done += 1

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        losses = {name: float(value) if np.isfinite(value) else None for name, value in logs.items()}
        row = {"epoch": epoch, "steps": self.done, **losses, "rate": self.rate}
        self.rows.append({**row, "seconds": round(time.monotonic() - self.started, 2)})
        self.report(self.rows[-1])
