"""Logit adjustment after training: raises a class's odds because a missed tumor costs more than a false one.

A network trained on slices of which a third hold tumor, mostly large ones, calls a small tumor kidney as soon as that
is a little more probable. Multiplying the odds of a class adds their logarithm to its bias in the finest head, so a
model saved with them needs nothing else for prediction, ONNX or serving.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from kidney_seg.config.model import HEADS

if TYPE_CHECKING:
    import keras


def set_class_odds(model: keras.Model, class_odds: Sequence[float]) -> None:
    """Multiply the odds of the classes in `model` (of `build_model`) permanently, by one factor per class.

    Softmax: probabilities are multiplied and divided by their sum; sigmoid: p / (1 - p) of each class is multiplied.
    Factors of 1 change nothing, whatever the model.
    """
    if any(factor != 1 for factor in class_odds):
        bias = _bias(model)
        bias.assign(bias.numpy() + np.log(np.asarray(class_odds, np.float32)))


@contextmanager
def with_class_odds(model: keras.Model, class_odds: Sequence[float]) -> Iterator[keras.Model]:
    """Apply `set_class_odds` until the block ends; then restore the weights bit for bit."""
    before = None if all(factor == 1 for factor in class_odds) else _bias(model).numpy()
    set_class_odds(model, class_odds)
    try:
        yield model
    finally:
        if before is not None:
            _bias(model).assign(before)


def _bias(model: keras.Model) -> keras.Variable:
    return model.get_layer(f"{HEADS[-1]}_logits").bias
