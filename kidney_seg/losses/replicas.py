"""Sums over the devices that share a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def replicas() -> int:
    """Return how many devices share a batch here, inside a training step, so that each sees a part of it.

    1 under JAX, where a step is written as for the whole batch.
    """
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return 1 if tf.distribute.in_cross_replica_context() else tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(values: Sequence[Any]) -> list[Any]:
    """Return each tensor's sum over the devices that share a batch: itself where it sees the whole batch."""
    if replicas() == 1:
        return list(values)
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(values))
