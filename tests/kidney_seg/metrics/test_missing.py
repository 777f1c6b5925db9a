"""Scores that do not exist, on their way through JSON and into tables."""

from __future__ import annotations

import json
import math
from pathlib import Path

from kidney_seg.metrics.missing import existing, exists, format_score, nan_to_none, none_to_nan


def test_through_json_and_back():
    row = {"dice": 0.5, "hd95_mm": math.nan, "lesions": ({"dice": math.nan, "found": True},), "path": Path("a/b")}
    content = json.loads(json.dumps(nan_to_none(row), allow_nan=False))
    assert content == {"dice": 0.5, "hd95_mm": None, "lesions": [{"dice": None, "found": True}], "path": "a/b"}
    back = none_to_nan(content)
    assert math.isnan(back["hd95_mm"]) and math.isnan(back["lesions"][0]["dice"]) and back["dice"] == 0.5


def test_what_exists():
    values = [0.0, None, math.nan, math.inf, -2.5]
    assert [exists(value) for value in values] == [True, False, False, False, True]
    assert existing(values).tolist() == [0.0, -2.5] and existing([]).shape == (0,)
    assert [format_score(value, 1) for value in values] == ["0.0", "-", "-", "-", "-2.5"]
