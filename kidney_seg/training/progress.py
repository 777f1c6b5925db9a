"""Progress of a round, and the names of the arrays saved with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


def named_state(weights: Sequence[np.ndarray], optimizer: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of a training's state by their names in checkpoints."""
    kinds = {"weight": weights, "optimizer": optimizer}
    return {f"{kind}{index}": value for kind, values in kinds.items() for index, value in enumerate(values)}


@dataclass
class Progress:
    """Progress of a round: steps done, rows of finished epochs, and sums over the steps of the current one."""

    steps: int = 0
    rows: list[dict] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    waited: float = 0.0
