"""Surfaces and their distances against the reference code, its stored figures, and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmarks.data.metrics import reference
from kidney_seg.metrics import surface_area as surfels
from kidney_seg.metrics import surface_distance as surface
from kidney_seg.metrics.overlap import KITS23_REGIONS, region_mask
from kidney_seg.metrics.surface_area import surfel_areas_mm2
from kidney_seg.metrics.surface_distance import (
    assd_mm,
    hausdorff_mm,
    surface_dice,
    surface_distances,
    surface_of,
)

FLAT, EDGE, CORNER = 1.0, math.sqrt(0.5), math.sqrt(3) / 8  # surfels of a cube of voxels of 1 mm
THEIRS = {"kidney": "kidney_and_mass", "masses": "mass", "tumor": "tumor"}


def distances(truth, predicted, spacing=(1.0, 1.0, 1.0)):
    return surface_distances(surface_of(truth, spacing), surface_of(predicted, spacing))


def box(shape, *sides):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


@pytest.mark.parametrize("case", range(8))
@pytest.mark.parametrize("name", KITS23_REGIONS)
def test_the_reference_figures(golden, case, name):
    expected = golden["values"]["cases"][case][THEIRS[name]]
    region = KITS23_REGIONS[name]
    masks = (region_mask(golden[f"{which}_{case}"], region) for which in ("gt", "pred"))
    found = distances(*masks, golden[f"spacing_{case}"])
    share = surface_dice(found, region.tolerance_mm, "official_kits23")
    assert share == pytest.approx(expected["surface_dice"], abs=1e-6)
    if expected["hd95_mm"] is None:
        assert hausdorff_mm(found) == assd_mm(found) == math.inf
    else:
        assert hausdorff_mm(found) == pytest.approx(expected["hd95_mm"], abs=1e-6)
        both = expected["asd_gt_to_pred_and_pred_to_gt_mm"]
        assert directed_mm(found) == pytest.approx(both, abs=1e-6)
        assert min(both) < assd_mm(found) < max(both)


def directed_mm(found):
    """The mean distances by area, from truth to prediction and back."""
    return np.average(found.truth_mm, weights=found.truth_mm2), np.average(
        found.predicted_mm, weights=found.predicted_mm2
    )


masks = arrays.arrays(bool, (3, 4, 5), elements=st.booleans())
millimeters = st.tuples(*[st.floats(0.3, 6.0)] * 3)


@given(masks, masks, millimeters)
@settings(max_examples=60, deadline=None)
def test_the_reference_code(truth, predicted, spacing):
    if not (truth.any() and predicted.any()):
        return
    code = reference()
    theirs, ours = code.compute_surface_distances(truth, predicted, spacing), distances(truth, predicted, spacing)
    assert directed_mm(ours) == pytest.approx(code.compute_average_surface_distance(theirs), abs=1e-9)
    both = np.concatenate([ours.truth_mm, ours.predicted_mm]), np.concatenate([ours.truth_mm2, ours.predicted_mm2])
    assert assd_mm(ours) == pytest.approx(np.sum(both[0] * both[1]) / np.sum(both[1]))
    # any percentage but those that the running sum of the areas may meet exactly: rounding decides there
    assert hausdorff_mm(ours, 94.3217) == pytest.approx(code.compute_robust_hausdorff(theirs, 94.3217), abs=1e-9)
    for tolerance in (0.1234, 1.4321, 5.4321):
        expected = code.compute_surface_dice_at_tolerance(theirs, tolerance)
        assert surface_dice(ours, tolerance) == pytest.approx(expected, abs=1e-9)


@given(millimeters)
@settings(max_examples=20, deadline=None)
def test_areas_are_those_of_the_reference_table(spacing):
    from surface_distance import lookup_tables

    kernel = lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL
    code = [sum(int(kernel[at]) for bit, at in enumerate(surfels.CORNERS) if ours >> bit & 1) for ours in range(256)]
    expected = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)[code]
    assert surfel_areas_mm2(spacing) == pytest.approx(expected, rel=1e-12)


def test_areas_by_hand():
    areas = surfel_areas_mm2((3.0, 2.0, 1.0))
    assert areas[0b00001111] == pytest.approx(2 * 1)  # a plane across z
    assert areas[0b00110011] == pytest.approx(3 * 1)
    assert areas[0b01010101] == pytest.approx(3 * 2)
    assert areas[0b00000011] == pytest.approx(1.0 * math.hypot(1.5, 1.0))  # along x, from mid z to mid y
    assert surfel_areas_mm2((1, 1, 1))[1] == pytest.approx(CORNER)
    assert areas[0] == areas[255] == 0
    assert areas == pytest.approx(areas[::-1])  # of the mask and of its complement


def test_two_cubes_at_a_known_distance():
    """Cubes of 3 voxels, 4 mm of air between them along x: a point at depth d has 4 + d mm to go."""
    shape = (5, 5, 12)
    near, far = box(shape, (1, 4), (1, 4), (1, 4)), box(shape, (1, 4), (1, 4), (8, 11))
    found = distances(near, far)
    outer = 4 * FLAT + 8 * EDGE + 4 * CORNER  # a face with its rim; two such
    inner = 8 * FLAT + 4 * EDGE  # a ring of points between them; two such
    assert sorted(set(found.truth_mm)) == [4, 5, 6, 7]
    assert found.truth_mm2.sum() == pytest.approx(2 * outer + 2 * inner)
    assert assd_mm(found) == pytest.approx(5.5)
    assert hausdorff_mm(found) == 7
    assert hausdorff_mm(found, 60) == 6
    assert surface_dice(found, 4.0) == pytest.approx(outer / (2 * outer + 2 * inner))
    assert (surface_dice(found, 3.9), surface_dice(found, 7.0)) == (0, 1)


def test_thick_slices():
    """The same along z with slices of 5 mm: 20 mm between the cubes."""
    near, far = box((12, 5, 5), (1, 4), (1, 4), (1, 4)), box((12, 5, 5), (8, 11), (1, 4), (1, 4))
    found = distances(near, far, (5.0, 0.7, 0.7))
    assert sorted(set(found.truth_mm)) == [20, 25, 30, 35]
    assert assd_mm(found) == pytest.approx(27.5)
    assert hausdorff_mm(found) == 35


def test_one_voxel():
    """A voxel's surface are its 8 corners; 5 voxels on, four corners have 4 and four have 5 mm to go."""
    one, other = box((3, 3, 8), (1, 2), (1, 2), (1, 2)), box((3, 3, 8), (1, 2), (1, 2), (6, 7))
    found = distances(one, other)
    assert found.truth_mm.tolist() == [4] * 4 + [5] * 4
    assert found.truth_mm2.sum() == pytest.approx(8 * CORNER)
    assert (hausdorff_mm(found), assd_mm(found), surface_dice(found, 4.5)) == (
        5,
        pytest.approx(4.5),
        pytest.approx(0.5),
    )
    same = distances(one, one)
    assert (hausdorff_mm(same), assd_mm(same), surface_dice(same, 0)) == (0, 0, 1)


def test_both_empty_and_one_empty():
    full, empty = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    both, missed, invented = distances(empty, empty), distances(full, empty), distances(empty, full)
    assert all(math.isnan(value) for value in (hausdorff_mm(both), assd_mm(both), surface_dice(both, 1.0)))
    assert surface_dice(both, 1.0, "official_kits23") == 1.0
    for found in (missed, invented):
        assert hausdorff_mm(found) == assd_mm(found) == math.inf
        assert hausdorff_mm(found, absent_mm=80.0) == assd_mm(found, 80.0) == 80.0
        assert surface_dice(found, 1e9) == surface_dice(found, 1.0, "official_kits23") == 0.0


def test_a_mask_is_closed_at_the_edge_of_the_array():
    inside = surface_of(np.pad(np.ones((2, 3, 4), bool), 1), (1.0, 2.0, 3.0))
    at_edge = surface_of(np.ones((2, 3, 4), bool), (1.0, 2.0, 3.0))
    assert at_edge.areas_mm2.sum() == pytest.approx(inside.areas_mm2.sum())


def test_the_way_for_many_far_points_gives_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    truth, predicted = np.zeros((10, 40, 90), bool), np.zeros((10, 40, 90), bool)
    truth[2:6, 3:20, 3:20] = rng.random((4, 17, 17)) < 0.9
    predicted[3:9, 5:30, 30:85] = rng.random((6, 25, 55)) < 0.9
    exact = distances(truth, predicted, (4.0, 0.8, 0.7))
    assert exact.predicted_mm.max() > surface.FAR_MM
    monkeypatch.setattr(surface, "FEW", 0)
    mapped = distances(truth, predicted, (4.0, 0.8, 0.7))
    assert mapped.truth_mm == pytest.approx(exact.truth_mm, rel=1e-6)
    assert mapped.predicted_mm == pytest.approx(exact.predicted_mm, rel=1e-6)
    assert mapped.predicted_mm.tolist() != exact.predicted_mm.tolist()  # or the other way was not taken


def test_what_is_no_mask_or_spacing():
    for mask, spacing in ((np.ones((2, 2)), (1, 1)), (np.ones((2, 2, 2)), (1, 1)), (np.ones((2, 2, 2)), (1, 0, 1))):
        with pytest.raises(ValueError, match="spacings"):
            surface_of(mask, spacing)
    one = np.ones((1, 1, 1), bool)
    with pytest.raises(ValueError, match="differ"):
        surface_distances(surface_of(one, (1, 1, 1)), surface_of(one, (1, 1, 2)))
