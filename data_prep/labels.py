"""The label table: 0 background, 1 kidney, 2 tumor, 3 cyst."""

from __future__ import annotations

CLASS_NAMES = ("background", "kidney", "tumor")  # the index is the label, in caches and predictions
CYST = 3  # in source files of KiTS21 and KiTS23 only; kidney in caches, as in KiTS19

LARGEST_LABEL = 3  # cyst, in KiTS21 and KiTS23

LABELS = {"kidney": 1, "tumor": 2, "cyst": 3}
