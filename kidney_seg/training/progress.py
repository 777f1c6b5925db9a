"""How far a round is, and the state that is saved with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


def named_state(weights: Sequence[np.ndarray], optimizer: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of a training's state under the names that checkpoints give them."""
    kinds = {"weight": weights, "optimizer": optimizer}
    return {f"{kind}{index}": value for kind, values in kinds.items() for index, value in enumerate(values)}


@dataclass
class Progress:
    """How far a round is: steps done, rows of the finished epochs, and of the running one sums over its steps."""

    steps: int = 0
    rows: list[dict] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    waited: float = 0.0
