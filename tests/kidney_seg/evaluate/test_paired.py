"""Which cases and which columns two predictions are compared by."""

from __future__ import annotations

import numpy as np
import pytest

from kidney_seg.evaluate.case_scores import COLUMNS, POSTPROCESSED, score_case
from kidney_seg.evaluate.paired import compare_rows, where_present

MM = (5.0, 1.0, 1.0)


def labels(tumor: bool, shift: int = 0) -> np.ndarray:
    found = np.zeros((4, 16, 16), np.uint8)
    found[1:3, 2:12, 2 + shift : 12] = 1
    found[1:3, 4:8, 4 + shift : 8] = 2 if tumor else 1
    return found


def rows(shift: int) -> list[dict]:
    truths = {"case_00000": labels(True), "case_00001": labels(False), "case_00002": np.zeros((4, 16, 16), np.uint8)}
    return [score_case(name, truth, labels(True, shift), MM, labels(False, shift)) for name, truth in truths.items()]


@pytest.mark.parametrize("prefix", ["", POSTPROCESSED])
def test_cases_whose_truth_holds_what_the_column_needs(prefix: str) -> None:
    cases = {name: [int(row["case"][-1]) for row in where_present(rows(1), prefix + name)] for name in COLUMNS[2:]}
    of_kidney = ("kidney_dice", "kits23_kidney_surface_dice", "kidney_hd95_mm", "predicted_kidney_ml")
    of_tumor = ("tumor_dice", "kits23_masses_dice", "kits23_tumor_surface_dice", "tumor_assd_mm", "tumors_found")
    assert [cases[name] for name in of_kidney] == [[0, 1]] * 4
    assert [cases[name] for name in of_tumor] == [[0]] * 5
    assert cases["false_tumors"] == [0, 1, 2]


def test_scores_are_compared_and_volumes_are_not() -> None:
    figures = [one["figure"] for one in compare_rows(rows(0), rows(1))]
    scores = [name for name in COLUMNS[2:] if name.endswith(("_dice", "_hd95_mm", "_assd_mm"))]
    scores += ["tumors_found", "false_tumors"]
    assert figures == [prefix + name for prefix in ("", POSTPROCESSED) for name in scores]
