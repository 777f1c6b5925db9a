"""The tables: places lie inside, confidence is the mean over a tumor's own voxels, Dice by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kidney_seg.app.findings import findings
from kidney_seg.postprocess.review import describe

SPACING_MM = (2.0, 5.0, 5.0)  # 20 voxels are 1 mL


def labels_of_two_tumors() -> np.ndarray:
    labels = np.zeros((12, 30, 40), np.uint8)
    labels[1:11, 8:20, 3:13] = 1  # right: x ascends to the left
    labels[1:11, 8:20, 27:37] = 1
    labels[2:6, 10:14, 5:9] = 2  # 64 voxels, 3.2 mL
    labels[4:9, 9:15, 29:35] = 2  # 180 voxels, 9 mL
    return labels


def found(**options):
    labels = labels_of_two_tumors()
    return labels, findings(labels, describe(labels, labels, None, SPACING_MM), SPACING_MM, **options)


def test_each_row_has_a_place_of_its_own():
    labels, tables = found()
    assert [(row["side"], row["volume_ml"]) for row in tables["tumors"]] == [("left", 9.0), ("right", 3.2)]
    places = [tuple(row["place"]) for row in tables["tumors"]]
    assert [labels[place] for place in places] == [2, 2]
    assert 29 <= places[0][2] < 35 and 5 <= places[1][2] < 9
    assert tables["start"] == tables["tumors"][0]["place"]
    for row in tables["kidneys"]:
        assert labels[tuple(row["place"])] == 1 and (row["place"][2] >= 20) == (row["side"] == "left")


def test_confidence_is_of_the_tumor_itself():
    percent = np.zeros((12, 30, 40), np.uint8)
    percent[4:9, 9:15, 29:35] = 80
    percent[2:6, 10:14, 5:9] = 60
    percent[2, 10:14, 5:9] = 20  # 16 of 64 voxels: .75 * .6 + .25 * .2 = .5
    _, tables = found(percent=percent)
    assert [row["confidence"] for row in tables["tumors"]] == [0.8, 0.5]
    assert [row["confidence"] for row in found()[1]["tumors"]] == [None, None]


def test_dice_with_the_truth():
    truth = labels_of_two_tumors()
    truth[2:6, 10:14, 5:9] = 1  # a tumor that is none: 2 * 180 / (180 + 244)
    _, tables = found(truth=truth)
    assert tables["dice"] == {"kidney with masses": 1.0, "tumor": pytest.approx(360 / 424, abs=1e-4)}


def test_nothing_found():
    empty = np.zeros((6, 20, 20), np.uint8)
    tables = findings(empty, describe(empty, empty, None, SPACING_MM), SPACING_MM, truth=empty)
    assert tables["tumors"] == [] and tables["kidneys"] == [] and tables["start"] is None
    assert any("empty" in flag for flag in tables["flags"])


def test_two_tumors_of_one_size_get_two_places():
    labels = labels_of_two_tumors()
    labels[labels == 2] = 1
    labels[3:6, 10:13, 5:8] = labels[3:6, 10:13, 29:32] = 2
    tables = findings(labels, describe(labels, labels, None, SPACING_MM), SPACING_MM)
    assert len({tuple(row["place"]) for row in tables["tumors"]}) == 2
