"""Fixtures that several test modules share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real patients' data beside the checkout; tests that need it skip where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real data: {SHARED / 'data'} is absent")
    return SHARED / "data"


@pytest.fixture(scope="session")
def golden() -> dict:
    """Masks with figures that reference metric code gave for them, by key; `values` is the decoded JSON."""
    path = SHARED / "reference" / "golden_metrics.npz"
    if not path.is_file():
        pytest.skip(f"no golden figures: {path} is absent")
    with np.load(path) as arrays:
        content = {key: arrays[key] for key in arrays.files}
    content["values"] = json.loads(str(content["values"]))
    return content
