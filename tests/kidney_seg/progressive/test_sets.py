"""Sets of patients without anything to learn from, or to judge by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.helpers import one_line, write_cache

from data_prep.errors import InputError
from kidney_seg.progressive.driver import check_sets


def test_a_set_without_a_labeled_kidney_is_refused_by_name(tmp_path: Path) -> None:
    image, label = np.zeros((2, 16, 16), np.int16), np.zeros((2, 16, 16), np.uint8)
    marked = label.copy()
    marked[0, 3:5, 3:5] = 1
    manifest = write_cache(tmp_path, {"a": (image, marked), "b": (image, label), "c": (image, marked)})
    check_sets(manifest, {"train": ["a"], "validation": ["b", "c"]}, ("train", "validation"), tmp_path)
    for train, validation, name in (
        (["a", "c"], ["b"], "validation"),
        (["b"], ["a"], "train"),
        (["a"], [], "validation"),
    ):
        with pytest.raises(InputError, match=f"no patient of the {name} set has a labeled kidney or tumor") as caught:
            check_sets(manifest, {"train": train, "validation": validation}, ("train", "validation"), tmp_path)
        one_line(caught)
