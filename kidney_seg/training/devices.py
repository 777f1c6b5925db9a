"""The devices that share each batch of a training: GPUs of one host or of several.

By `tf.distribute.MirroredStrategy` under TensorFlow, `keras.distribution.DataParallel` under JAX.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
from keras import ops

from data_prep.errors import InputError
from kidney_seg.config.run_config import Config
from kidney_seg.losses.device_sums import replicas, sum_over_replicas


class OneDevice:
    """A whole batch on one device, Keras' default. The other kinds have the same members."""

    count = 1  # devices that share a batch, over all processes

    def scope(self) -> AbstractContextManager:
        """Return the context to make, compile and fit the trained network in."""
        return nullcontext()

    def twin(self, model: keras.Model) -> keras.Model:
        """Return the network to train: `model`, or one that shares its variables or has copies of them."""
        return model

    def optimizer(self, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        """Return the optimizer to train with, made from that of one device."""
        return optimizer

    def jit_compile(self, setting: bool | str) -> bool | str:
        """Return the argument `jit_compile` of `compile`."""
        return setting

    def make_metrics(self, model: keras.Model) -> None:
        """Make the running means of a compiled network, where that saves time later."""

    def assign(self, variable: keras.Variable, value: Any) -> None:
        """Set a variable on all devices; every process gives the same value."""
        variable.assign(value)

    def reset_metrics(self, model: keras.Model) -> None:
        """Reset the running means of a compiled network."""
        model.reset_metrics()

    def own_rows(self, batch_size: int) -> slice:
        """Return the rows of every batch that this process feeds."""
        return slice(0, batch_size)


class OneUnderTensorFlow(OneDevice):
    """One device, with TensorFlow's own kernels where Keras would run many small ones."""

    def twin(self, model: keras.Model) -> keras.Model:
        from kidney_seg.training.fused_kernels import with_fast_layers

        return with_fast_layers(model)

    def optimizer(self, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        from kidney_seg.training.fused_kernels import FusedAdam

        return FusedAdam.from_config(optimizer.get_config()) if type(optimizer) is keras.optimizers.Adam else optimizer

    def make_metrics(self, model: keras.Model) -> None:
        # TensorFlow traces a step once more if its first trace makes a variable, and the losses make their means in it
        zeros = {name: ops.zeros((1, *output.shape[1:])) for name, output in model.output.items()}
        model.compute_loss(y=zeros, y_pred=zeros)
        model.reset_metrics()


class Mirrored(OneDevice):
    """The GPUs of one host under TensorFlow. Loss and batch statistics are those of the whole batch."""

    def __init__(self, devices: Sequence[str]):
        import tensorflow as tf

        self.strategy = tf.distribute.MirroredStrategy(list(devices))
        self.count = self.strategy.num_replicas_in_sync

    def scope(self) -> AbstractContextManager:
        return self.strategy.scope()

    def twin(self, model: keras.Model) -> keras.Model:
        def synchronized(layer: keras.Layer) -> keras.Layer:
            changed = {"synchronized": True} if isinstance(layer, keras.layers.BatchNormalization) else {}
            return type(layer).from_config(layer.get_config() | changed)

        return keras.models.clone_model(model, clone_function=synchronized)

    def optimizer(self, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        return _clipped_as_one(optimizer)

    def jit_compile(self, setting: bool | str) -> bool | str:
        return False


class DataParallel(OneDevice):
    """Devices under JAX, of one process or of several. A step is written as for the whole batch, so nothing differs."""

    def __init__(self, devices: Sequence[Any], process: int = 0, processes: int = 1):
        names = [f"{device.platform}:{device.id}" for device in devices]
        self.distribution = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
        self.count, self.process, self.processes = len(names), process, processes

    def scope(self) -> AbstractContextManager:
        return self.distribution.scope()

    def twin(self, model: keras.Model) -> keras.Model:
        keras.utils.set_random_seed(0)  # all processes must start with the same values
        return keras.models.clone_model(model)

    def assign(self, variable: keras.Variable, value: Any) -> None:
        import jax

        # `variable.assign(value)` alone would compare the value over all processes, a collective each time
        layout = self.distribution.get_variable_layout(variable).backend_layout
        value = np.asarray(value, dtype=variable.dtype)
        variable.assign(jax.make_array_from_process_local_data(layout, value, value.shape))

    def reset_metrics(self, model: keras.Model) -> None:
        for variable in model.metrics_variables:
            self.assign(variable, np.zeros(variable.shape))

    def own_rows(self, batch_size: int) -> slice:
        share = batch_size // self.processes
        return slice(self.process * share, (self.process + 1) * share)


def choose_devices(config: Config, process: int = 0, processes: int = 1) -> OneDevice:
    """Return the devices that the setting `devices` selects, in each of `processes` processes.

    Raises:
        InputError: the batch cannot be shared equally, or the engine does not support a setting.
    """
    if keras.backend.backend() == "jax":
        made = _under_jax(config.rounds.devices, process, processes)
    elif keras.backend.backend() == "tensorflow":
        made = OneUnderTensorFlow() if config.rounds.devices == "one" else _under_tensorflow(config)
    elif config.rounds.devices == "one":
        return OneDevice()
    else:
        raise InputError(
            f"setting devices: found 'all' under Keras' backend {keras.backend.backend()}, expected one; "
            "several devices need KERAS_BACKEND=tensorflow or jax"
        )
    if config.data.batch_size % made.count:
        raise InputError(
            f"setting batch_size: found {config.data.batch_size} for {made.count} devices, expected a multiple of "
            "their number: every device gets the same share of a batch"
        )
    return made


def _under_jax(wanted: str, process: int, processes: int) -> OneDevice:
    import jax
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # TensorFlow only feeds, and would take the memory
    devices = jax.devices()
    if wanted == "one":  # per process
        devices = list({device.process_index: device for device in reversed(devices)}.values())[::-1]
    return OneDevice() if len(devices) == 1 else DataParallel(devices, process, processes)


def _under_tensorflow(config: Config) -> OneDevice:
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(found) == 1:
        return OneUnderTensorFlow()
    for name, value, refused in (
        ("precision", config.model.precision, "mixed_float16"),
        ("jit_compile", config.rounds.jit_compile, "on"),
    ):
        if value == refused:
            raise InputError(
                f"setting {name}: found {refused!r} with devices=all under TensorFlow, which shares a batch "
                "without it; expected another value, or KERAS_BACKEND=jax"
            )
    return Mirrored([device.name for device in found])


def _clipped_as_one(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return an optimizer that clips the gradient of the whole batch; Keras would clip each device's share of it."""
    import tensorflow as tf

    settings = optimizer.get_config()
    norm = settings.pop("global_clipnorm")
    kind: Any = type(optimizer)  # Adam or SGD

    class ClippedAsOne(kind):
        def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
            summed, _ = tf.clip_by_global_norm(sum_over_replicas(grads), norm)
            # `apply` sums over the devices once more
            super().apply([ops.divide(gradient, replicas()) for gradient in summed], trainable_variables)

    return ClippedAsOne.from_config(settings)
