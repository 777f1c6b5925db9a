"""The odds of the classes, changed after training: a tumor that is missed costs more than a tumor too many.

A network trained on slices of which a third hold tumor, most of them large, calls a small one kidney as long as that is
a little more probable. Multiplying the odds of a class is adding their logarithm to its bias in the finest head, so a
model that is saved so needs nothing else: prediction, ONNX and serving take it as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from kidney_seg.config.model import HEADS

if TYPE_CHECKING:
    import keras


def set_odds(model: keras.Model, odds: Sequence[float]) -> None:
    """Multiply the odds of the classes that `model` (of `build_model`) gives, one factor a class, for good.

    Softmax: probabilities are multiplied and divided by their sum; sigmoid: p / (1 - p) of each class is multiplied.
    Factors of 1 leave the model as it is, whatever model it is.
    """
    if all(factor == 1 for factor in odds):
        return
    bias = _bias(model)
    bias.assign(bias.numpy() + np.log(np.asarray(odds, np.float32)))


@contextmanager
def with_odds(model: keras.Model, odds: Sequence[float]) -> Iterator[keras.Model]:
    """`set_odds` until the block ends; then the weights are what they were, bit for bit."""
    before = None if all(factor == 1 for factor in odds) else _bias(model).numpy()
    set_odds(model, odds)
    try:
        yield model
    finally:
        if before is not None:
            _bias(model).assign(before)


def _bias(model: keras.Model) -> keras.Variable:
    return model.get_layer(f"{HEADS[-1]}_logits").bias
