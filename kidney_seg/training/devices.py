"""The devices that share each batch of a training: GPUs of one host, or of several.

Engines that others maintain do it: `tf.distribute.MirroredStrategy` under TensorFlow, `keras.distribution.DataParallel`
under JAX. On one device nothing of this is in the way.
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
from kidney_seg.losses.replicas import replicas, sum_over_replicas


class OneDevice:
    """All of a batch on one device, as Keras does it by itself. The other kinds have the same members.

    count: devices that share a batch, over all processes.
    """

    count = 1

    def scope(self) -> AbstractContextManager:
        """Return the context in which the trained network is made, compiled and fitted."""
        return nullcontext()

    def twin(self, model: keras.Model) -> keras.Model:
        """Return the network to train: `model` itself, one that shares its variables, or one with copies of them."""
        return model

    def optimizer(self, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        """Return the optimizer to train with, made from the one of a single device."""
        return optimizer

    def jit_compile(self, setting: bool | str) -> bool | str:
        """Return what `compile` gets as `jit_compile`."""
        return setting

    def assign(self, variable: keras.Variable, value: Any) -> None:
        """Set a variable on all the devices; every process gives the same value."""
        variable.assign(value)

    def reset_metrics(self, model: keras.Model) -> None:
        """Set the running means of a compiled network back."""
        model.reset_metrics()

    def own_rows(self, batch_size: int) -> slice:
        """Return which rows of every batch this process feeds."""
        return slice(0, batch_size)


class OneUnderTensorFlow(OneDevice):
    """One device, with TensorFlow's own kernels where Keras would run many small ones."""

    def twin(self, model: keras.Model) -> keras.Model:
        from kidney_seg.training.fused_kernels import with_fused_norms

        return with_fused_norms(model)

    def optimizer(self, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        from kidney_seg.training.fused_kernels import FusedAdam

        return FusedAdam.from_config(optimizer.get_config()) if type(optimizer) is keras.optimizers.Adam else optimizer


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
            settings = layer.get_config()
            if isinstance(layer, keras.layers.BatchNormalization):
                settings["synchronized"] = True
            return type(layer).from_config(settings)

        return keras.models.clone_model(model, clone_function=synchronized)

    def optimizer(self, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        return _clipped_as_one(optimizer)

    def jit_compile(self, setting: bool | str) -> bool | str:
        return False


class DataParallel(OneDevice):
    """Devices under JAX, of this process or of many. A step is written as for the whole batch, so nothing differs."""

    def __init__(self, devices: Sequence[Any], process: int = 0, processes: int = 1):
        names = [f"{device.platform}:{device.id}" for device in devices]
        self.distribution = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
        self.count, self.process, self.processes = len(names), process, processes

    def scope(self) -> AbstractContextManager:
        return self.distribution.scope()

    def twin(self, model: keras.Model) -> keras.Model:
        keras.utils.set_random_seed(0)  # all processes must begin with the same values, whatever they are
        return keras.models.clone_model(model)

    def assign(self, variable: keras.Variable, value: Any) -> None:
        import jax

        # What is put there as it is, is compared over all processes first, which costs a message each time.
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
    """Return the devices that the setting `devices` asks for, in each of `processes` processes.

    InputError where the batch cannot be shared out equally, and for settings that the engine does not take.
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

    tf.config.set_visible_devices([], "GPU")  # it only feeds, and would take the memory
    devices = jax.devices()
    if wanted == "one":
        first: dict[int, Any] = {}
        for device in devices:
            first.setdefault(device.process_index, device)
        devices = list(first.values())
    return OneDevice() if len(devices) == 1 else DataParallel(devices, process, processes)


def _under_tensorflow(config: Config) -> OneDevice:
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(found) == 1:
        return OneUnderTensorFlow()
    for name, refused in (("precision", "mixed_float16"), ("jit_compile", "on")):
        for section in (config.model, config.rounds):
            if getattr(section, name, None) == refused:
                raise InputError(
                    f"setting {name}: found {refused!r} with devices=all under TensorFlow, which shares a batch "
                    "without it; expected another value, or KERAS_BACKEND=jax"
                )
    return Mirrored([device.name for device in found])


def _clipped_as_one(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return an optimizer that clips the gradient of the whole batch.

    Keras clips each device's share of it before it adds them up, which is another step altogether.
    """
    import tensorflow as tf

    settings = optimizer.get_config()
    norm = settings.pop("global_clipnorm")

    kind: Any = type(optimizer)  # a setting says which

    class ClippedAsOne(kind):
        def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
            summed, _ = tf.clip_by_global_norm(sum_over_replicas(grads), norm)
            # what follows adds up over the devices once more
            super().apply([ops.divide(gradient, replicas()) for gradient in summed], trainable_variables)

    return ClippedAsOne.from_config(settings)
