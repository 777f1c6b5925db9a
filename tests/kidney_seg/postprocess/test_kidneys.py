"""The anchored rule: kidneys by what is called kidney. Cases by hand at 1 mm, properties, and real label maps."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.blocks import MM, blank, block, two_kidneys
from support.helpers import save

from data_prep.volume import read_labels
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.evaluate.__main__ import main as evaluate
from kidney_seg.postprocess.__main__ import main
from kidney_seg.postprocess.distant_objects import apply_rule, find_objects, remove_distant_objects
from kidney_seg.postprocess.kidneys import find_kidneys
from kidney_seg.postprocess.review import describe
from kidney_seg.predict.predictor import finish_labels


def anchored(labels, **limits):
    return remove_distant_objects(labels, MM, rule="anchored", **limits)


def roles(labels, spacing=MM, rule="anchored"):
    return {(round(item.volume_ml, 3), item.role) for item in find_objects(labels, spacing, rule=rule)}


def test_false_tumor_in_the_liver_larger_than_a_kidney():
    """By the paper's rule the liver becomes a kidney, and a kidney a third object."""
    kidneys = two_kidneys()
    labels = block(kidneys.copy(), (50, 80), (10, 60), (10, 50), 2)  # 60 mL, its nearest voxel 16 mm above
    assert (60.0, "kidney") in roles(labels, rule="paper")
    assert roles(labels) == {(60.0, "removed"), (27.0, "kidney")}
    np.testing.assert_array_equal(anchored(labels), kidneys)
    np.testing.assert_array_equal(anchored(labels, tumor_mm=16), labels)


def test_an_organ_called_tumor_with_some_kidney_in_it_is_no_kidney():
    kidneys = two_kidneys()
    labels = block(kidneys.copy(), (50, 80), (10, 60), (10, 50), 2)
    block(labels, (50, 60), (10, 60), (10, 40))  # 15 mL of it called kidney
    np.testing.assert_array_equal(anchored(labels), kidneys)


@pytest.mark.parametrize(("gap_mm", "stays"), [(5, True), (6, False)])
def test_spleen_called_tumor(gap_mm, stays):
    """Beside the left kidney: from its last voxel at z = 34. What nearly touches counts."""
    kidneys = two_kidneys()
    labels = block(kidneys.copy(), (34 + gap_mm, 74), (20, 60), (105, 140), 2)
    np.testing.assert_array_equal(anchored(labels), labels if stays else kidneys)


def test_objects_of_kidney_have_the_distance_of_the_paper():
    labels = two_kidneys()
    block(labels, (54, 56), (20, 22), (10, 12))  # 20 mm above
    block(labels, (54, 56), (20, 22), (110, 112))
    labels[55, 21, 111] = 2  # one voxel of tumor in it
    expected = labels.copy()
    expected[54:56, 20:22, 110:112] = 0
    np.testing.assert_array_equal(anchored(labels), expected)
    np.testing.assert_array_equal(remove_distant_objects(labels, MM), labels)


def test_solitary_kidney():
    kidney = block(blank(), (5, 35), (20, 50), (10, 40))
    block(kidney, (10, 20), (25, 35), (35, 50), 2)  # with a tumor that grows out of it
    labels = block(kidney.copy(), (50, 80), (10, 60), (90, 140), 2)
    block(labels, (50, 54), (10, 40), (90, 130))  # 4.8 mL of the organ is called kidney, less than a remnant
    np.testing.assert_array_equal(anchored(labels), kidney)
    assert len(find_kidneys(labels, MM, 20.0, "anchored").kidneys) == 1


def test_horseshoe_kidney():
    kidney = block(two_kidneys(), (15, 20), (30, 35), (40, 110))
    labels = block(kidney.copy(), (50, 80), (10, 60), (10, 110), 2)  # 150 mL
    np.testing.assert_array_equal(anchored(labels), kidney)


@pytest.mark.parametrize(("remnant_rows", "is_kidney"), [(20, True), (5, True), (4, False)])
def test_tumor_larger_than_its_kidney(remnant_rows, is_kidney):
    """75 mL of tumor on a remnant of a kidney: 24, 6 or 4.8 mL; the second is a kidney by the fallback."""
    labels = block(blank(), (5, 35), (20, 50), (10, 40))
    block(labels, (0, 50), (10, 40), (90, 140), 2)
    block(labels, (0, 40), (40, 40 + remnant_rows), (100, 130))
    found = find_kidneys(labels, MM, 20.0, "anchored")
    assert len(found.kidneys) == (2 if is_kidney else 1)
    assert np.array_equal(anchored(labels), labels) == is_kidney
    cleaned, components = apply_rule(labels, MM, rule="anchored")
    reasons = [
        item["reason"] for item in describe(labels, cleaned, components, MM, rule="anchored")["rule"]["components"]
    ]
    assert (reasons[0] == "a kidney that tumor has replaced: 6.0 mL of kidney are left") == (remnant_rows == 5)


def test_both_kidneys_replaced_by_tumor():
    labels = blank()
    for x in (10, 100):
        block(block(labels, (5, 35), (20, 50), (x, x + 30), 2), (5, 35), (20, 50), (x, x + 8))
    labels[70, 60, 75] = 2
    assert roles(labels) == {(27.0, "kidney"), (0.001, "removed")}


def test_kidney_split_by_a_tumor():
    """Parts of 12 mL, each less than a kidney, with a tumor between them."""
    labels = block(blank(), (5, 35), (20, 50), (10, 40))
    block(labels, (0, 16), (20, 45), (105, 135))
    block(labels, (16, 40), (20, 45), (105, 135), 2)
    block(labels, (40, 56), (20, 45), (105, 135))
    np.testing.assert_array_equal(anchored(labels), labels)
    assert roles(labels) == {(27.0, "kidney"), (42.0, "kidney")}


def test_nothing_to_measure_from_removes_nothing():
    labels = block(blank(), (5, 35), (20, 50), (10, 40), 2)  # a tumor alone
    block(labels, (60, 65), (20, 25), (110, 115))
    np.testing.assert_array_equal(anchored(labels), labels)
    described = describe(labels, labels, find_objects(labels, MM, rule="anchored"), MM, rule="anchored")
    assert described["rule"]["components"][0]["reason"].startswith("no object has 20 mL of kidney, so")
    assert described["flags"][0]["what"] == "No kidney was found: no object has 20 mL of kidney."
    assert not anchored(blank()).any() and find_objects(blank(), MM, rule="anchored") == []
    section = np.moveaxis(two_kidneys(), 0, 2)[30:31]
    section[0, 0, 0] = 2
    np.testing.assert_array_equal(anchored(section), section)  # a single slice


def test_cysts_count_as_kidney_and_axes_do_not_matter():
    labels = two_kidneys()
    labels[labels == 1] = 3
    block(labels, (50, 80), (10, 60), (10, 50), 2)
    expected = np.where(labels == 2, 0, labels)
    np.testing.assert_array_equal(anchored(labels), expected)
    for axes in ((2, 0, 1), (1, 0, 2)):
        turned = remove_distant_objects(labels.transpose(axes), MM, rule="anchored")
        np.testing.assert_array_equal(turned, expected.transpose(axes))


@st.composite
def scenes(draw):
    """Small maps of a few boxes with voxels of 10 mm, so that few voxels make a kidney."""
    shape = draw(st.tuples(*[st.integers(1, 12)] * 3))
    labels = np.zeros(shape, np.uint8)
    for _ in range(draw(st.integers(0, 6))):
        start = [draw(st.integers(0, size - 1)) for size in shape]
        labels[tuple(slice(a, a + draw(st.integers(1, 4))) for a in start)] = draw(st.sampled_from([1, 1, 2, 3]))
    return labels


@settings(max_examples=100, deadline=None)
@given(scenes(), st.sampled_from([0.0, 12.0, 30.0]))
def test_only_removes_twice_is_once_and_never_all(labels, tumor_mm):
    limits = {"rule": "anchored", "tumor_mm": tumor_mm}
    result, components = apply_rule(labels, (10.0,) * 3, **limits)
    assert np.array_equal(result[result > 0], labels[result > 0]) and result.any() == labels.any()
    assert np.array_equal(remove_distant_objects(result, (10.0,) * 3, **limits), result)
    tumors = [item for item in components if item.tumor_ml > 0 and item.role == "kept" and 1 not in labels.shape]
    assert all(math.isnan(item.distance_mm) or item.distance_mm <= tumor_mm for item in tumors)
    # without tumor both rules are one
    bare = np.where(labels == 2, 1, labels)
    np.testing.assert_array_equal(
        remove_distant_objects(bare, (10.0,) * 3, **limits), remove_distant_objects(bare, (10.0,) * 3)
    )


def test_wrong_arguments():
    with pytest.raises(ValueError, match="rule must be one of paper, anchored"):
        remove_distant_objects(blank(), MM, rule="other")
    with pytest.raises(ValueError, match="limits"):
        anchored(blank(), tumor_mm=-1)


@pytest.mark.parametrize("case", ["case_00030", "case_00042", "case_00088", "case_00194"])  # split; speck; tumor; one
def test_true_labels_lose_nothing(shared_data, case):
    """All 126: .006 mL in all, no tumor voxel (measured); here four of them."""
    path = shared_data / "kits19_labels" / case / "segmentation.nii.gz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    volume = read_labels(path)
    result, components = apply_rule(volume.voxels, volume.spacing_mm, rule="anchored")
    lost = volume.voxels[result != volume.voxels]
    assert lost.size * math.prod(volume.spacing_mm) / 1000 < 0.005 and not (lost == 2).any()
    assert [item.role for item in components].count("kidney") == (1 if case == "case_00194" else 2)


def test_settings_commands_and_scores(tmp_path, capsys):
    kidneys = two_kidneys()
    block(kidneys, (10, 20), (25, 35), (130, 144), 2)
    labels = block(kidneys.copy(), (50, 80), (10, 60), (10, 50), 2)
    chosen = PredictionConfig(rule="anchored")
    np.testing.assert_array_equal(finish_labels(labels, MM, chosen), kidneys)
    np.testing.assert_array_equal(finish_labels(labels, MM, PredictionConfig(rule="anchored", tumor_mm=16)), labels)
    assert asdict(PredictionConfig())["rule"] == "paper"

    for folder, content in (("predicted", labels), ("truth", kidneys)):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder / "case_00000.nii.gz", content, np.diag([1.0, 1, 1, 1]))
    source, out = tmp_path / "predicted", tmp_path / "out"
    command = [str(source / "case_00000.nii.gz"), "--out", str(out / "one.nii.gz"), "--rule", "anchored"]
    assert main([*command, "--json", str(out / "one.json")]) == 0
    assert "1 of 3 objects removed, 60.00 mL" in capsys.readouterr().out
    np.testing.assert_array_equal(
        read_labels(out / "one.nii.gz").voxels, read_labels(tmp_path / "truth" / "case_00000.nii.gz").voxels
    )
    rule = next(iter(json.loads((out / "one.json").read_text())["cases"].values()))["rule"]
    assert (rule["rule"], rule["tumor_mm"], rule["removed_tumor_ml"]) == ("anchored", 5.0, 60.0)
    assert rule["components"][0]["reason"] == "16.0 mm from the nearest kidney, more than 5 mm, with tumor"
    assert rule["components"][1]["reason"] == "one of the two objects with most kidney, of at least 20 mL of kidney"
    assert main([*command[:-1], "paper", "--force"]) == 0
    assert main([*command, "--tumor-mm", "-1", "--force"]) == 2
    assert "--tumor-mm: found -1, expected a number of 0 or more" in capsys.readouterr().err

    scores = {}
    for name in ("paper", "anchored"):
        options = ["--postprocess", "--rule", name, "--out", str(tmp_path / name)]
        assert evaluate([str(source), str(tmp_path / "truth"), *options]) == 0
        scores[name] = json.loads((tmp_path / name / "scores.json").read_text())
    said = capsys.readouterr().out
    assert "kidneys from 20 mL of kidney, and objects with tumor farther than 5 mm." in said
    assert scores["paper"]["rule"] == {"distance_mm": 20.0, "kidney_ml": 20.0}
    assert scores["anchored"]["rule"] == {"distance_mm": 20.0, "kidney_ml": 20.0, "rule": "anchored", "tumor_mm": 5.0}
    case = scores["anchored"]["cases"][0]
    assert (case["postprocessed_tumor_dice"], case["postprocessed_kidney_dice"]) == (1.0, 1.0)
    assert case["tumor_dice"] == scores["paper"]["cases"][0]["postprocessed_tumor_dice"] < 0.1
