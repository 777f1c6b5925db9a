"""The model that ships with the package, called `starter`: its card is CARD.md, its license LICENSE, both beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STARTER = "starter"
STARTER_FILE = Path(__file__).with_name("starter.keras")


@dataclass(frozen=True)
class About:
    """What a model file says of itself: its name, the data that it was trained on, the license of its weights."""

    name: str
    data: str
    license: str

    def __str__(self) -> str:
        return f"{self.name}; {self.data}; {self.license}"
