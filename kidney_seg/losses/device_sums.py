"""Sums over the devices that share a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def replicas() -> int:
    """Return how many devices share the batch of this training step; 1 under JAX, where a step sees the whole batch."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return 1 if tf.distribute.in_cross_replica_context() else tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(values: Sequence[Any]) -> list[Any]:
    """Return each tensor's sum over the devices that share the batch; the tensors themselves for one device."""
    if replicas() == 1:
        return list(values)
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(values))
