"""Rows put together, by hand: Table 1, columns, tumors by size."""

from __future__ import annotations

import math

import pytest

from kidney_seg.evaluate.summary import describe, detection, summarize, table1, zero_tumor_dice
from kidney_seg.metrics.statistics import mean_interval


def row(kidney, tumor, kidney_ml=100.0, tumor_ml=10.0, **more):
    row = {"kidney_dice": kidney, "tumor_dice": tumor, "kidney_ml": kidney_ml, "tumor_ml": tumor_ml, **more}
    return {"patient": str(id(row)), **row}  # each its own


def without_interval(figures):
    return {key: value for key, value in figures.items() if key not in ("low", "high")}


def test_table1_by_hand():
    rows = [row(0.9, 0.5), row(0.8, math.nan, tumor_ml=0.0), row(1.0, 0.0, tumor_ml=0.0), row(0.9, 0.7)]
    summary = table1(rows)
    assert without_interval(summary["kidney"]) == {
        "mean": pytest.approx(0.9),
        "median": pytest.approx(0.9),
        "n": 4,
        "left_out": 0,
    }
    assert without_interval(summary["tumor"]) == {"mean": pytest.approx(0.4), "median": 0.5, "n": 3, "left_out": 1}
    assert summary["average"]["mean"] == pytest.approx((0.9 + 0.4) / 2)
    assert summary["average"]["median"] == pytest.approx(0.7)  # of .7, .5 and .8
    assert summary["average"]["n"] == 3
    present = table1(rows, where_present=True)
    assert without_interval(present["tumor"]) == {
        "mean": pytest.approx(0.6),
        "median": pytest.approx(0.6),
        "n": 2,
        "left_out": 2,
    }
    assert present["kidney"]["n"] == 4


def test_table1_of_the_paper():
    summary = table1([row(0.953, 0.572)])
    assert summary["average"]["mean"] == pytest.approx(0.7625)  # printed as .763


def test_table1_of_nothing_and_of_other_columns():
    assert math.isnan(table1([])["average"]["mean"])
    assert table1([])["kidney"]["n"] == 0
    rows = [row(0.1, 0.1, postprocessed_kidney_dice=0.4, postprocessed_tumor_dice=0.2)]
    assert table1(rows, prefix="postprocessed_")["average"]["mean"] == pytest.approx(0.3)


def test_intervals_are_of_patients():
    """Ten patients with three equal cases each are ten, not thirty."""
    values = [0.1 * patient for patient in range(10)]
    rows = [{"patient": f"p{patient}", "dice": value} for patient, value in enumerate(values) for _ in range(3)]
    found = describe(rows, "dice")
    assert (found["mean"], found["n"]) == (pytest.approx(0.45), 30)
    assert (found["low"], found["high"]) == pytest.approx(mean_interval(values))
    assert found["high"] - found["low"] > 1.5 * (mean_interval(values * 3)[1] - mean_interval(values * 3)[0])


def test_columns_with_nothing_and_with_one():
    rows = [{"patient": "a", "mm": None}, {"patient": "b", "mm": 3.0}]
    found = describe(rows, "mm")
    assert (found["mean"], found["median"], found["n"], found["left_out"]) == (3.0, 3.0, 1, 1)
    assert math.isnan(found["low"]) and math.isnan(found["high"])
    assert math.isnan(describe(rows[:1], "mm")["mean"]) and describe(rows[:1], "mm")["n"] == 0


def test_average_is_of_the_same_draws():
    """Kidney and tumor that mirror each other average to the same in every draw: an interval without width."""
    rows = [row(0.5 + 0.04 * n, 0.5 - 0.04 * n, patient=str(n)) for n in range(10)]
    average = table1(rows)["average"]
    assert (average["low"], average["mean"], average["high"]) == pytest.approx((0.5, 0.5, 0.5))
    assert table1(rows)["kidney"]["high"] - table1(rows)["kidney"]["low"] > 0.1


def lesion(size, found, after=True):
    return {"size_class": size, "found": found, "postprocessed_found": after}


def test_detection_by_hand():
    rows = [{"patient": name, "false_tumors": false} for name, false in (("a", 2), ("b", 0), ("b", 1), ("c", 0))]
    lesions = [lesion("20 to 40 mm", number < 8) for number in range(10)] + [lesion("over 70 mm", True)]
    found = detection(rows, lesions)
    sizes = {one["size_class"]: one for one in found["sizes"]}
    assert list(sizes) == ["up to 20 mm", "20 to 40 mm", "40 to 70 mm", "over 70 mm", "all"]
    middle = sizes["20 to 40 mm"]
    assert (middle["n"], middle["found"], middle["sensitivity"]) == (10, 8, 0.8)
    assert (middle["low"], middle["high"]) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson's, by his formula
    assert (sizes["all"]["n"], sizes["all"]["found"]) == (11, 9)
    assert sizes["up to 20 mm"]["n"] == 0 and math.isnan(sizes["up to 20 mm"]["sensitivity"])
    assert (found["false_tumors"], found["false_per_patient"]) == (3, 1.0)  # of three patients: 2, 1, 0
    assert 0 <= found["low"] < 1 < found["high"] <= 2
    nothing = detection([], [])
    assert nothing["false_tumors"] == 0 and math.isnan(nothing["false_per_patient"])


def test_cases_that_the_prediction_does_not_touch():
    rows = [
        {"case": "missed", "tumor_ml": 5.0, "tumor_dice": 0.0},
        {"case": "found", "tumor_ml": 5.0, "tumor_dice": 0.1},
        {"case": "none", "tumor_ml": 0.0, "tumor_dice": math.nan},
        {"case": "alarm", "tumor_ml": 0.0, "tumor_dice": 0.0},
    ]
    assert zero_tumor_dice(rows) == {"zero_tumor_dice": ["missed"]}


def test_summary_of_no_case():
    assert summarize([])["all"]["kidney"]["n"] == 0
