"""Gradients of a tensor that three or more layers take are added in a fixed order, as equal bits need it.

TensorFlow's AddN begins with whichever addend's memory is free at that moment. The sum of three or more numbers then
has other last bits from run to run, whatever the threads, also with `enable_op_determinism` (2.21).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

Tensor = Any  # of TensorFlow, which has no types


class Fork(keras.layers.Layer):
    """Copies of a tensor, one for each layer that takes it; copying costs nothing. Their gradients have an order."""

    def __init__(self, count: int, name: str):
        super().__init__(name=name, autocast=False)
        self.count = count

    def call(self, inputs: Tensor) -> list[Tensor]:
        """Return `count` tensors equal to `inputs`."""

        @tf.custom_gradient
        def copied(values: Tensor) -> tuple[list[Tensor], Callable[..., Tensor]]:
            return [tf.identity(values) for _ in range(self.count)], lambda *slopes: add_in_order(slopes)

        return copied(inputs)

    def compute_output_spec(self, inputs: keras.KerasTensor) -> list[keras.KerasTensor]:
        """Return the shapes of the copies."""
        return [keras.KerasTensor(inputs.shape, inputs.dtype) for _ in range(self.count)]


def add_in_order(addends: Sequence[Tensor]) -> Tensor:
    """Return the sum of tensors of one shape, each added to the sum of those before it.

    Each sum but the last also waits for the next addend. TensorFlow's graph optimizer would make one AddN of sums that
    wait for nothing else.
    """
    total = addends[0]
    for number in range(1, len(addends)):
        with tf.control_dependencies(addends[number + 1 : number + 2]):
            total = tf.add(total, addends[number])
    return total


def clone_in_order(model: keras.Model, change: Callable[[keras.Layer], keras.Layer]) -> keras.Model:
    """Return a network of the layers that `change` makes of those of `model`, with forks where three or more meet."""
    takers = Counter(
        _source(tensor) for layer in model.layers for node in layer._inbound_nodes for tensor in node.input_tensors
    )
    left: dict[tuple[str, int], list[keras.KerasTensor]] = {}

    def own_copy(tensor: keras.KerasTensor) -> keras.KerasTensor:
        source = _source(tensor)
        if takers[source] < 3:
            return tensor
        if source not in left:
            left[source] = Fork(takers[source], f"{source[0]}_fork{source[1] or ''}")(tensor)
        return left[source].pop()

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        return layer(*keras.tree.map_structure(own_copy, args), **kwargs)

    return keras.models.clone_model(model, clone_function=change, call_function=call)


def _source(tensor: keras.KerasTensor) -> tuple[str, int]:
    """Return the name of the layer that gives a tensor, and which of its outputs it is."""
    return tensor._keras_history.operation.name, tensor._keras_history.tensor_index
