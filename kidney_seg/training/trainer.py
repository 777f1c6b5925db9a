"""One network, compiled once and trained in rounds: each starts from given weights with a fresh optimizer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kidney_seg.config.run_config import Config
from kidney_seg.losses.keras_losses import build_losses
from kidney_seg.model.attention_unet import build_model
from kidney_seg.pipeline.dataset import ReadyTimes, training_dataset
from kidney_seg.pipeline.sampling import Samples
from kidney_seg.pipeline.slice_store import SliceStore
from kidney_seg.predict.predictor import make_predictor
from kidney_seg.training.devices import choose_devices
from kidney_seg.training.stop_request import Stopped, StopRequest

if TYPE_CHECKING:
    from kidney_seg.training.process_group import ProcessGroup
from kidney_seg.training.progress import Progress, named_state
from kidney_seg.training.schedule import build_optimizer, rate_at


class Trainer:
    """The network with its training step, which is traced in the first round and kept for all others.

    Between rounds, weights and optimizer variables are set in place: compiling again would take many seconds.
    """

    def __init__(self, config: Config, group: ProcessGroup | None = None):
        """Build and compile the network; every process of a `group` makes a Trainer of the same settings."""
        self.config, self.group = config, group
        self.model = build_model(config.model)  # for files and predictions, on one device
        self.devices = choose_devices(config, *((group.index, group.count) if group else ()))
        losses, weights = build_losses(config.loss, config.model)
        choices: dict[str, bool | str] = {"auto": "auto", "on": True, "off": False}
        with self.devices.scope():
            self.trained = self.devices.twin(self.model)
            optimizer = self.devices.optimizer(build_optimizer(config.rounds))
            compiled = self.devices.jit_compile(choices[config.rounds.jit_compile])
            self.trained.compile(optimizer=optimizer, loss=losses, loss_weights=weights, jit_compile=compiled)
            self.trained.optimizer.build(self.trained.trainable_variables)
            self.devices.make_metrics(self.trained)
        pairs = zip(self.model.variables, self.trained.variables, strict=True)
        self._copies = [(own, copy) for own, copy in pairs if own is not copy]  # none, or all
        self._fresh_optimizer = [variable.numpy() for variable in self.trained.optimizer.variables]
        self._optimizer: list[np.ndarray] | None = None  # from `set_state`, for the next round
        self.predict = make_predictor(self.model, config.prediction.slices_per_batch)

    def initialize(self, seed: int) -> None:
        """Set new random weights, which follow from `seed` alone."""
        keras.utils.set_random_seed(seed)
        self.model.set_weights(build_model(self.config.model).get_weights())

    def state(self) -> dict[str, np.ndarray]:
        """Return a copy of everything a step changes: weights, moving averages, optimizer variables."""
        values = (self.trained.variables, self.trained.optimizer.variables)
        return named_state(*([variable.numpy() for variable in variables] for variables in values))

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore a `state`, also of other devices; the next round starts with it."""
        for index, variable in enumerate(self.model.variables):
            variable.assign(state[f"weight{index}"])
        self._optimizer = [state[f"optimizer{index}"] for index in range(len(self._fresh_optimizer))]

    def fit_round(
        self,
        store: SliceStore,
        epochs: Sequence[Samples],
        peak_rate: float,
        report: Callable[[dict], None] = lambda row: None,
        *,
        tick: Callable[[int, float], None] = lambda steps, loss: None,
        start: Progress | None = None,
        save: Callable[[Progress], None] = lambda progress: None,
        stop: StopRequest | None = None,
    ) -> list[dict]:
        """Train on the samples of all `epochs` from the current weights, with a fresh optimizer.

        Args:
            report: gets the row of each epoch.
            tick: gets the steps so far and the loss of the last one, after every step.
            start: progress of a stopped round. After `set_state`, the round ends as if it had not been stopped.
            save: called after every epoch and every `checkpoint_seconds`, when `state` and the `Progress` are complete.
            stop: checked after every batch.

        Returns:
            One row per epoch: `epoch`, `steps` so far in this round, `loss` and the loss of each head (None if not
            finite, which ends the round), `rate` at its end, `seconds`, and `waited`, the seconds of waiting for data.

        Raises:
            Stopped: after the batch in which `stop` was requested, and after `save`.
        """
        progress = start or Progress()
        left = sum(len(epoch.case) for epoch in epochs) - progress.steps
        given = self._given(fresh=start is None)
        if left == 0:
            self._begin(given)  # the optimizer variables are saved with the weights
            return progress.rows
        leads = self.group is None or self.group.index == 0
        self._begin(given)
        ready = ReadyTimes()
        watcher = _Watcher(self, progress, epochs, peak_rate, report, save, stop or StopRequest(), ready, tick)
        own = [epoch.rows(self.devices.own_rows(self.config.data.batch_size)) for epoch in epochs]
        block = self.group.together(watcher.stop) if self.group else watcher.stop.noted_only()
        with block, self.devices.scope():
            if self.group and leads:
                self.group.send_round(given, epochs, peak_rate, progress.steps)
            # For Keras, the round is one epoch; ours are the watcher's, which can start in the middle of one.
            self.trained.fit(
                training_dataset(store, own, self.config, first=progress.steps, ready=ready),
                steps_per_epoch=left,
                shuffle=False,  # the samples are in the order drawn
                verbose=0,
                callbacks=[watcher],
            )
        for own, copy in self._copies:
            own.assign(copy.numpy())
        asked = watcher.asked
        if asked is None and leads:
            asked = watcher.stop.signal_number  # received after the last batch
        if asked is not None:
            raise Stopped(asked)
        return progress.rows

    def _given(self, fresh: bool) -> dict[str, np.ndarray]:
        """Return the `state` a round starts with: current weights, and fresh or restored optimizer variables."""
        optimizer = self._fresh_optimizer if fresh else self._optimizer
        self._optimizer = None
        if optimizer is None:
            optimizer = [variable.numpy() for variable in self.trained.optimizer.variables]
        return named_state([variable.numpy() for variable in self.model.variables], optimizer)

    def _begin(self, given: Mapping[str, np.ndarray]) -> None:
        """Set weights and optimizer variables on all devices."""
        kinds = {"weight": self.trained.variables, "optimizer": self.trained.optimizer.variables}
        if not self._copies:
            del kinds["weight"]  # shared with `model`
        for kind, variables in kinds.items():
            for index, variable in enumerate(variables):
                self.devices.assign(variable, given[f"{kind}{index}"])


_kept: list[Trainer] = []  # the last one that nobody uses: at most one


def take_trainer(config: Config) -> Trainer:
    """Return a Trainer of these settings: the one that `keep_trainer` got last, if its training step is the same.

    So a second training in one process does not trace the step again, which takes many seconds. Its weights and
    optimizer are set before every round, so results do not depend on it.
    """
    try:
        kept = _kept.pop()
    except IndexError:
        return Trainer(config)
    if _step(kept.config) != _step(config):
        return Trainer(config)
    kept.config = config
    return kept


def keep_trainer(trainer: Trainer) -> None:
    """Keep a Trainer whose round ended as it should, and which is not used any more, for `take_trainer`."""
    if trainer.group is None:
        _kept[:] = [trainer]


def _step(config: Config) -> tuple[Any, ...]:
    """Return the settings that the compiled network depends on."""
    rounds = config.rounds
    ways = (rounds.optimizer, rounds.clipnorm, rounds.jit_compile, rounds.devices, config.prediction.slices_per_batch)
    return (config.model, config.loss, config.data.batch_size, ways)


class _Watcher(keras.callbacks.Callback):
    """Sets the rate before each step, sums up epochs, saves; ends the round on request or when the loss is NaN."""

    def __init__(
        self,
        trainer: Trainer,
        progress: Progress,
        epochs: Sequence[Samples],
        peak_rate: float,
        report: Callable[[dict], None],
        save: Callable[[Progress], None],
        stop: StopRequest,
        ready: ReadyTimes,
        tick: Callable[[int, float], None],
    ):
        super().__init__()
        self.progress, self.epoch_steps, self.total = progress, len(epochs[0].case), len(epochs) * len(epochs[0].case)
        self.trainer, self.peak_rate, self.rounds = trainer, peak_rate, trainer.config.rounds
        self.report, self.save, self.stop, self.ready, self.tick = report, save, stop, ready, tick
        self.failed = False
        self.asked: int | None = None  # signal that stops all processes

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.clock = self.saved = time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.rate = rate_at(self.progress.steps, self.total, self.peak_rate, self.rounds.warmup_share)
        self.trainer.devices.assign(self.model.optimizer.learning_rate, self.rate)
        self.trainer.devices.reset_metrics(self.model)  # so that Keras' running means are of this step alone
        self.wanted = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()  # during `fit`, JAX holds the state
        progress, now = self.progress, time.monotonic()
        for name, value in (logs or {}).items():
            progress.sums[name] = progress.sums.get(name, 0.0) + float(value)
        waited = self.ready.waited(progress.steps, self.wanted)
        progress.waited += waited if batch else 0.0  # the first batch starts the pipeline, and may be traced
        progress.seconds += now - self.clock
        self.clock = now
        progress.steps += 1
        self.tick(progress.steps, float((logs or {}).get("loss", math.nan)))
        self.failed = not math.isfinite(progress.sums["loss"])
        closed = self.failed or progress.steps % self.epoch_steps == 0
        if closed:
            self._close_epoch()
        group = self.trainer.group
        self.asked = group.agree(self.stop.signal_number) if group else self.stop.signal_number
        asked = self.asked is not None
        if not self.failed and (closed or asked or now - self.saved >= self.rounds.checkpoint_seconds):
            self.save(progress)
            self.saved = time.monotonic()
        if self.failed or asked:
            self.model.stop_training = True

    def _close_epoch(self) -> None:
        progress = self.progress
        count = (progress.steps - 1) % self.epoch_steps + 1
        losses = {name: value / count if math.isfinite(value) else None for name, value in progress.sums.items()}
        row = {"epoch": len(progress.rows), "steps": progress.steps, **losses, "rate": self.rate}
        progress.rows.append({**row, "seconds": round(progress.seconds, 2), "waited": round(progress.waited, 3)})
        progress.sums, progress.seconds, progress.waited = {}, 0.0, 0.0
        self.report(progress.rows[-1])
