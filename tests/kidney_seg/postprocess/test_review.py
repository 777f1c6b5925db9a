"""The review of a prediction: hand-made anatomy with known volumes, sides and diameters, and each flag."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from support.helpers import save

from data_prep.geometry.components import largest_diameter_mm
from data_prep.volume import read_labels, read_volume
from kidney_seg.postprocess.distant_objects import apply_rule
from kidney_seg.postprocess.review import LOW_CONFIDENCE, MOST_COMPONENTS, describe, summary_line, unfit

MM = (1.0, 1.0, 1.0)


def block(labels, z, y, x, value=1):
    labels[slice(*z), slice(*y), slice(*x)] = value
    return labels


def two_kidneys(shape=(44, 70, 150)):
    """The right kidney, 27 mL, at x 10..39, and the left one, 36 mL, at x 110..139; away from all edges."""
    labels = block(np.zeros(shape, np.uint8), (5, 35), (20, 50), (10, 40))
    return block(labels, (2, 42), (20, 50), (110, 140))


def review(labels, spacing=MM, **more):
    cleaned, components = apply_rule(labels, spacing)
    described = describe(labels, cleaned, components, spacing, **more)
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    return described


def flags(described):
    return [flag["flag"] for flag in described["flags"]]


def test_a_far_object_of_a_single_slice_stays_and_says_why():
    section = np.zeros((1, 60, 150), np.uint8)
    block(block(section, (0, 1), (5, 55), (10, 60)), (0, 1), (10, 40), (100, 150))
    rule = review(section, (10.0, 1.0, 1.0))["rule"]
    assert rule["removed_objects"] == 0
    assert rule["components"][1]["reason"] == (
        "41.0 mm from the nearest kidney; kept, because a single slice shows no volume"
    )


def test_kidneys_and_a_tumor():
    labels = two_kidneys()
    block(labels, (10, 20), (25, 35), (130, 144), 2)  # 10 x 10 x 14, 4 columns outside of the kidney
    found = review(labels)
    assert found["volumes_ml"] == {"kidney": 62.0, "tumor": 1.4, "cyst": 0.0}
    left, right = found["kidneys"]
    assert left == {
        "side": "left",
        "volume_ml": 36.4,
        "kidney_ml": 35.0,
        "tumor_ml": 1.4,
        "cyst_ml": 0.0,
        "slices": [2, 41],
        "cut_by": [],
    }
    assert (right["side"], right["volume_ml"], right["slices"]) == ("right", 27.0, [5, 34])
    diameter = round(float(np.sqrt(9**2 + 9**2 + 13**2)), 3)
    assert found["tumors"] == [
        {"volume_ml": 1.4, "diameter_mm": diameter, "side": "left", "in_kidney": True, "slices": [10, 19]}
    ]
    assert found["flags"] == []
    assert summary_line(found) == "kidneys: left 36 mL, right 27 mL; tumor: 1.4 mL in 1 object (largest 18 mm, left)"


def test_sides_are_the_patients_in_a_file_of_any_axes(tmp_path):
    """nibabel's axes run to the patient's right, anterior and superior here: the first kidney is the left one."""
    labels = np.transpose(two_kidneys(), (2, 1, 0))
    volume = read_labels(save(tmp_path / "labels.nii.gz", labels, np.eye(4)))
    found = review(volume.voxels)
    assert [(kidney["side"], kidney["volume_ml"]) for kidney in found["kidneys"]] == [("right", 36.0), ("left", 27.0)]


def test_sides_of_a_real_patient(shared_data):
    """The right kidney lies lower than the left, under the liver."""
    folder = shared_data / "real_ct" / "case_90000"
    labels, image = read_labels(folder / "segmentation.nii.gz"), read_volume(folder / "imaging.nii.gz")
    found = review(labels.voxels, labels.spacing_mm, hu_zyx=image.voxels)
    lower, upper = sorted(found["kidneys"], key=lambda kidney: kidney["slices"])
    assert (lower["side"], upper["side"]) == ("right", "left")
    assert flags(found) == ["no_contrast"]  # its kidneys have 14 HU
    for kidney in (lower, upper):
        alone = np.where(np.arange(labels.voxels.shape[2]) * labels.spacing_mm[2] < 150, labels.voxels, 0)
        alone = alone if kidney is lower else labels.voxels - alone
        one = review(alone, labels.spacing_mm, hu_zyx=image.voxels)["kidneys"]
        assert [item["side"] for item in one] == [kidney["side"]]


def test_side_of_one_kidney_by_the_middle():
    labels = block(np.zeros((40, 60, 160), np.uint8), (5, 35), (10, 40), (58, 88))  # around 73, the middle is 80
    found = review(labels)
    assert found["kidneys"][0]["side"] == "unknown"
    assert flags(found) == ["one_kidney"]
    hu = np.full(labels.shape, -1000, np.int16)
    hu[:, :, 60:] = 30  # the body's middle is 110
    assert review(labels, hu_zyx=hu)["kidneys"][0]["side"] == "right"
    assert review(labels[:, :, ::-1], hu_zyx=hu[:, :, ::-1])["kidneys"][0]["side"] == "left"


def test_two_objects_above_each_other_have_no_side():
    labels = block(np.zeros((90, 60, 160), np.uint8), (5, 35), (10, 40), (100, 130))
    block(labels, (50, 80), (10, 40), (90, 120))
    assert [kidney["side"] for kidney in review(labels)["kidneys"]] == ["unknown", "unknown"]


def test_tumors_belong_to_the_nearest_kidney():
    labels = two_kidneys()
    block(labels, (10, 20), (60, 65), (25, 35), 2)  # detached, 11 mm behind the right kidney
    block(labels, (10, 15), (25, 30), (95, 105), 2)  # detached, 6 mm beside the left kidney
    labels[20, 30, 20] = 2  # a voxel in the right kidney
    found = review(labels)
    assert [(item["side"], item["in_kidney"], item["volume_ml"]) for item in found["tumors"]] == [
        ("right", False, 0.5),
        ("left", False, 0.25),
    ]
    assert found["small_tumors"] == {"objects": 1, "volume_ml": 0.001}
    assert found["volumes_ml"]["tumor"] == 0.751


def test_tumor_of_a_fused_kidney_has_the_side_of_its_place():
    labels = block(two_kidneys(), (15, 20), (30, 35), (40, 110))
    labels[2:5] = labels[35:] = 0  # as large on both sides
    block(labels, (10, 20), (25, 35), (20, 30), 2)
    found = review(labels)
    assert [kidney["side"] for kidney in found["kidneys"]] == ["unknown"]
    assert found["tumors"][0]["side"] == "right"
    assert flags(found) == ["one_kidney"]


def test_what_the_rule_did():
    labels = two_kidneys()
    labels[20, 30, 75] = 2
    labels[20, 30, 45] = 1
    rule = review(labels)["rule"]
    assert (rule["applied"], rule["distance_mm"], rule["kidney_ml"]) == (True, 20.0, 20.0)
    assert (rule["removed_objects"], rule["removed_ml"], rule["removed_tumor_ml"]) == (1, 0.001, 0.001)
    assert rule["volumes_before_ml"] == {"kidney": 63.001, "tumor": 0.001, "cyst": 0.0}
    said = {item["role"]: (item["distance_mm"], item["reason"]) for item in rule["components"]}
    assert said == {
        "kidney": (0.0, "one of the two largest objects of at least 20 mL"),
        "kept": (6.0, "6.0 mm from the nearest kidney, not more than 20 mm"),
        "removed": (35.0, "35.0 mm from the nearest kidney, more than 20 mm"),
    }
    assert "removed: 1 distant objects, 0.0 mL" in summary_line(review(labels))
    assert describe(labels, labels, None, MM)["rule"] == {"applied": False}


def test_thousands_of_objects_are_counted_not_listed():
    labels = two_kidneys()
    labels[::3, 55::3, ::3] = 1
    rule = review(labels)["rule"]
    assert len(rule["components"]) == MOST_COMPONENTS
    assert rule["components_not_listed"] == 2 + 15 * 5 * 50 - MOST_COMPONENTS
    assert rule["removed_objects"] > MOST_COMPONENTS


def test_empty_map():
    found = review(np.zeros((4, 5, 6), np.uint8), hu_zyx=np.zeros((4, 5, 6), np.int16))
    assert flags(found) == ["empty", "no_kidney", "impossible_size", "not_hu"]
    assert (found["kidneys"], found["tumors"]) == ([], [])
    assert summary_line(found) == "kidneys: none; tumor: 0.0 mL; review: empty, no_kidney, impossible_size, not_hu"


def test_nothing_of_kidney_size():
    found = review(block(np.zeros((30, 60, 160), np.uint8), (5, 10), (10, 20), (10, 20)))
    assert flags(found) == ["no_kidney"]
    assert found["rule"]["components"][0]["distance_mm"] is None
    assert "no kidney to measure from" in found["rule"]["components"][0]["reason"]


@pytest.mark.parametrize(
    ("cut", "edges"),
    [
        (np.s_[5:, :, :], "lowest slice"),
        (np.s_[:41, :, :], "highest slice"),
        (np.s_[:, 20:, :], "front edge"),
        (np.s_[:, :49, :], "back edge"),
        (np.s_[:, :, 12:], "right edge"),
        (np.s_[:, :, :139], "left edge"),
    ],
)
def test_kidney_cut_by_the_edge(cut, edges):
    found = review(two_kidneys()[cut])
    assert set(flags(found)) == {"cut_by_edge"}
    assert all(f"reaches the {edges} of the image" in flag["what"] for flag in found["flags"])
    assert flags(review(np.pad(two_kidneys()[cut], 1))) == []


@pytest.mark.parametrize("place", [(210, 240), (300, 330)])
def test_more_than_two_large_bodies_also_if_one_was_removed(place):
    labels = np.pad(two_kidneys(), ((0, 0), (0, 0), (0, 200)))
    block(labels, (8, 33), (20, 50), place)  # 22.5 mL
    found = review(labels)
    assert found["rule"]["removed_objects"] == 1
    assert flags(found) == ["many_bodies"]
    assert "3 objects have 20 mL or more (36, 27, 22 mL)" in found["flags"][0]["what"]
    assert flags(describe(labels, labels, None, MM)) == ["many_bodies"]


def test_tumor_in_place_of_kidney():
    labels = two_kidneys()
    labels[:, :, :75] *= 2
    assert flags(review(labels)) == []
    labels[labels == 1] = 2
    labels[20] = labels[20] > 0
    assert flags(review(labels)) == ["tumor_larger_than_kidney"]


def test_low_confidence_only_where_there_is_a_tumor():
    labels = two_kidneys()
    assert flags(review(labels, tumor_confidence=0.4)) == []
    block(labels, (10, 20), (25, 35), (20, 30), 2)
    assert flags(review(labels, tumor_confidence=LOW_CONFIDENCE)) == []
    assert flags(review(labels, tumor_confidence=float("nan"))) == []
    found = review(labels, tumor_confidence=np.float32(0.4))
    assert flags(found) == ["low_tumor_confidence"]
    assert found["tumor_confidence"] == 0.4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu: hu, None),
        (lambda hu: np.clip(hu, 0, 255), "8-bit"),
        (lambda hu: hu + 1024, "without subtracting 1024"),
        (lambda hu: np.zeros_like(hu), "every voxel"),
    ],
)
def test_values_that_are_no_hu(change, words):
    labels = np.pad(two_kidneys(), ((0, 20), (30, 30), (20, 20)))
    rng = np.random.default_rng(0)
    hu = rng.normal(-1000, 10, labels.shape)
    hu[:, 10:-10, 10:-10] = rng.normal(60, 30, hu[:, 10:-10, 10:-10].shape)
    found = review(labels, hu_zyx=np.rint(change(hu)).astype(np.int16))
    assert flags(found) == (["not_hu"] if words else [])
    assert words is None or words in found["flags"][0]["what"]


def test_shapes_that_do_not_fit():
    labels = two_kidneys()
    with pytest.raises(ValueError, match="hu_zyx"):
        describe(labels, labels, [], MM, hu_zyx=np.zeros((3, 4, 5), np.int16))
    with pytest.raises(ValueError, match="labels_before"):
        describe(labels[1:], labels, [], MM)


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(*[st.integers(1, 7)] * 3).flatmap(
        lambda shape: st.tuples(st.just(shape), st.binary(min_size=math.prod(shape), max_size=math.prod(shape)))
    ),
    st.tuples(*[st.sampled_from([0.7, 1.0, 3.0])] * 3),
    st.sampled_from([2, 128, 250]),
)
def test_diameter_is_that_of_all_pairs(scene, spacing, threshold):
    shape, values = scene
    mask = np.frombuffer(values, np.uint8).reshape(shape) < threshold
    places = np.argwhere(mask) * spacing
    expected = max(pdist(places), default=0.0) if len(places) else np.nan
    assert largest_diameter_mm(mask, spacing) == pytest.approx(expected, nan_ok=True)


def test_diameter_of_flat_and_large_objects():
    diagonal = np.eye(40, dtype=bool)
    assert largest_diameter_mm(diagonal[None], (5, 1, 1)) == pytest.approx(39 * np.sqrt(2))
    assert largest_diameter_mm(np.stack([diagonal] * 40, axis=1), MM) == pytest.approx(39 * np.sqrt(3))
    z, y, x = np.ogrid[-60:61, -60:61, -60:61]
    assert largest_diameter_mm(z**2 + y**2 + x**2 <= 60**2, (1.0, 0.5, 0.5)) == pytest.approx(120)


@pytest.mark.parametrize("case", ["case_00030", "case_00038", "case_00152"])
def test_diameter_of_real_tumors(shared_data, case):
    """The radiologists' size of KiTS is the largest in an axial slice: ours, in space, is about as large or larger."""
    root = shared_data / "kits19_labels"
    sizes = {item["case_id"]: item["radiographic_size"] for item in json.loads((root / "kits.json").read_text())}
    volume = read_labels(root / case / "segmentation.nii.gz")
    tumor = review(volume.voxels, volume.spacing_mm)["tumors"][0]
    assert 0.9 < tumor["diameter_mm"] / (10 * sizes[case]) < 1.5


@pytest.mark.parametrize(("hu", "flagged"), [(30, True), (44, True), (46, False), (150, False)])
def test_kidneys_without_contrast_agent(hu, flagged):
    labels = np.pad(two_kidneys(), ((0, 20), (30, 30), (20, 20)))
    image = np.full(labels.shape, -1000, np.int16)
    image[:, 10:-10, 10:-10] = 60
    image[labels > 0] = hu
    described = review(labels, hu_zyx=image)
    assert flags(described) == ["no_contrast"] * flagged
    tumors_alone = np.where(labels > 0, 2, 0).astype(np.uint8)
    assert "no_contrast" not in flags(review(tumors_alone, hu_zyx=image))
    assert any(f"The median of kidney is {hu} HU" in what for what in unfit(described)) == flagged


@pytest.mark.parametrize(("mm", "flagged"), [(5.0, False), (10.0, False), (12.0, True)])
def test_thick_slices(mm, flagged):
    described = review(two_kidneys(), (mm, 1.0, 1.0))
    assert unfit(described) == ["Slices lie 12.0 mm apart (over 10): small tumors are missed."] * flagged


@pytest.mark.parametrize(
    ("spacing", "words"),
    [
        ((10.0, 10.0, 10.0), "kidneys and tumors have 63.0 L"),
        ((10.0, 10.0, 10.0), "covers 440 x 700 x 1500 mm"),
        ((1.0, 0.05, 0.05), "covers 44 x 3.5 x 7.5 mm"),
    ],
)
def test_sizes_that_cannot_be_are_flagged_by_the_rules_of_the_data_check(spacing, words):
    labels = two_kidneys()
    found = review(labels, spacing, hu_zyx=np.where(labels > 0, 150, -1000).astype(np.int16))
    assert any(flag["flag"] == "impossible_size" and words in flag["what"] for flag in found["flags"])
