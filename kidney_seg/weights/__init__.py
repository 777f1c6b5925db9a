"""The model that ships with the package, called `starter`: its card is CARD.md, its license LICENSE, both beside it."""

from __future__ import annotations

from pathlib import Path

STARTER = "starter"
STARTER_FILE = Path(__file__).with_name("starter.keras")
