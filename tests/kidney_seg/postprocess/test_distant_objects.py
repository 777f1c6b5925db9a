"""The rule against distant objects: hand-made cases with exact distances, properties, and real label maps."""

from __future__ import annotations

import itertools
import json
import math

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import igzip
from scipy import ndimage
from scipy.spatial import cKDTree
from support.blocks import MM, blank, block, two_kidneys
from support.helpers import save

from kidney_seg.postprocess.__main__ import format_objects, main
from kidney_seg.postprocess.distant_objects import (
    Component,
    apply_rule,
    find_objects,
    remove_distant_objects,
)


def roles(labels, spacing=MM, **limits):
    return [item.role for item in find_objects(labels, spacing, **limits)]


def test_two_kidneys_stay():
    labels = two_kidneys()
    assert np.array_equal(remove_distant_objects(labels, MM), labels)
    assert find_objects(labels, MM) == [
        Component(1, "kidney", 27.0, 0.0, 0.0),
        Component(2, "kidney", 27.0, 0.0, 0.0),
    ]


@pytest.mark.parametrize(("gap_mm", "stays"), [(19, True), (20, True), (21, False)])
def test_detached_tumor_by_its_distance(gap_mm, stays):
    """The last voxel of the kidney has its center at x = 39; the tumor begins at 39 + gap."""
    labels = two_kidneys()
    block(labels, (10, 20), (25, 35), (39 + gap_mm, 39 + gap_mm + 5), 2)
    result = remove_distant_objects(labels, MM)
    assert np.array_equal(result == 2, (labels == 2) & stays)
    assert np.array_equal(result == 1, labels == 1)
    tumor = find_objects(labels, MM)[2]
    assert tumor == Component(3, "kept" if stays else "removed", 0.5, 0.5, gap_mm)
    assert find_objects(labels, MM, distance_mm=1000)[2].distance_mm == gap_mm


def test_distance_goes_around_no_corner():
    """12 mm along y and 16 mm along x from the corner (z, 49, 39) make 20 mm; one voxel on, it is 20.6 mm."""
    near, far = two_kidneys(), two_kidneys()
    near[20, 61, 55] = 1
    far[20, 62, 55] = 1
    assert np.array_equal(remove_distant_objects(near, MM), near)
    assert np.array_equal(remove_distant_objects(far, MM), two_kidneys())


def test_spacing_is_millimeters_along_its_own_axis():
    """Voxels of 5 x 1 x 0.8 mm: 4 slices are 20 mm, 5 slices 25; 25 columns are 20 mm, 26 are 20.8."""
    spacing = (5.0, 1.0, 0.8)
    kidney = block(blank((30, 50, 120)), (10, 16), (10, 40), (20, 60))
    for place, distance in [
        ((19, 20, 30), 20.0),
        ((20, 20, 30), 25.0),
        ((12, 20, 84), 20.0),
        ((12, 20, 85), 20.8),
    ]:
        labels = kidney.copy()
        labels[place] = 1
        assert find_objects(labels, spacing, distance_mm=99)[1].distance_mm == pytest.approx(distance, rel=1e-6)
        expected = labels if distance <= 20 else kidney
        assert np.array_equal(remove_distant_objects(labels, spacing), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nothing_is_removed_from_a_single_slice(axis):
    """Sections of two kidneys, of 25 and 15 mL: in a volume the second would be too small for a kidney."""
    section = block(block(blank((2, 60, 150)), (0, 1), (5, 55), (10, 60)), (0, 1), (10, 40), (100, 150))
    spacing = (10.0, 1.0, 1.0)
    one = np.moveaxis(section[:1], 0, axis)
    along = [1.0, 1.0, 1.0]
    along[axis] = 10.0
    assert roles(section, spacing) == ["kidney", "removed"]
    assert roles(one, along) == ["kidney", "kept"]
    np.testing.assert_array_equal(remove_distant_objects(one, along), one)


def test_one_kidney_and_a_speck_as_second_largest():
    """Trap: a naive "two largest" would take the speck at the far side for a kidney and keep its company."""
    labels = block(blank(), (5, 35), (20, 50), (10, 40))
    alone = labels.copy()
    labels[20, 30, 120] = 1
    labels[20, 30, 128] = 2
    assert roles(labels) == ["kidney", "removed", "removed"]
    assert np.array_equal(remove_distant_objects(labels, MM), alone)
    assert roles(alone) == ["kidney"]


def test_fused_kidney_is_one_body():
    labels = block(two_kidneys(), (15, 20), (30, 35), (40, 110))
    labels[20, 5, 75] = 1  # 25 mm before the isthmus
    labels[20, 15, 75] = 1  # 15 mm
    assert sorted(roles(labels)) == ["kept", "kidney", "removed"]
    result = remove_distant_objects(labels, MM)
    assert (result[20, 5, 75], result[20, 15, 75]) == (0, 1)


def test_kidney_of_a_tenth_of_the_other():
    """Trap: case 30 of KiTS19. A limit relative to the largest would drop the healthy kidney, 150 mm away."""
    labels = block(blank((60, 80, 250)), (0, 60), (10, 80), (0, 60), 2)  # 252 mL, nearly all tumor
    labels[:, :12, :60][labels[:, :12, :60] == 2] = 1
    block(labels, (10, 38), (20, 50), (210, 240))  # 25.2 mL
    small = find_objects(labels, MM)[1]
    assert small.volume_ml == pytest.approx(25.2)
    assert small.role == "kidney"
    assert np.array_equal(remove_distant_objects(labels, MM), labels)


def test_nothing_of_kidney_size_changes_nothing():
    labels = block(blank(), (0, 10), (0, 10), (0, 10))
    labels[30, 60, 140] = 2
    result = remove_distant_objects(labels, MM)
    assert np.array_equal(result, labels)
    assert result is not labels
    assert [(item.role, math.isnan(item.distance_mm)) for item in find_objects(labels, MM)] == [("kept", True)] * 2


def test_the_limit_is_a_volume_not_a_count():
    labels = block(blank(), (0, 20), (0, 40), (0, 25))  # 20,000 voxels
    labels[30, 60, 140] = 1
    assert roles(labels) == ["kidney", "removed"]  # exactly 20 mL is enough
    labels[0, 0, 0] = 0
    assert roles(labels) == ["kept", "kept"]
    assert roles(labels, (2.0, 1.0, 1.0)) == ["kidney", "removed"]
    assert roles(labels, kidney_ml=19.0) == ["kidney", "removed"]


def test_tumor_that_touches_a_kidney_belongs_to_it():
    """By a corner only (26-connected), and its far end is 60 mm off: centroids would fail here."""
    labels = two_kidneys()
    block(labels, (35, 40), (50, 60), (40, 100), 2)
    assert np.array_equal(remove_distant_objects(labels, MM), labels)
    assert [item.tumor_ml for item in find_objects(labels, MM)] == [3.0, 0.0]


def test_third_large_body_is_judged_by_distance_and_reported():
    labels = block(blank((40, 70, 260)), (5, 35), (20, 50), (10, 50))  # 36 mL
    block(labels, (5, 35), (20, 50), (100, 135))  # 31.5 mL
    block(labels, (5, 35), (20, 50), (210, 240))  # 27 mL, 76 mm away
    assert roles(labels) == ["kidney", "kidney", "removed"]
    assert "more than two objects" in format_objects(find_objects(labels, MM), 20)


def test_equal_sizes_leave_no_second_largest():
    labels = block(blank((40, 70, 260)), (5, 35), (20, 50), (10, 40))
    block(labels, (5, 35), (20, 50), (110, 140))
    block(labels, (5, 35), (20, 50), (210, 240))
    assert roles(labels) == ["kidney"] * 3


def test_empty_map_and_cyst_label():
    assert find_objects(blank(), MM) == []
    assert not remove_distant_objects(blank(), MM).any()
    labels = two_kidneys()
    labels[20, 30, 20] = 3
    labels[20, 30, 75] = 3
    result = remove_distant_objects(labels, MM)
    assert (result[20, 30, 20], result[20, 30, 75]) == (3, 0)


def test_single_voxel_and_full_map():
    one = np.ones((1, 1, 1), np.uint8)
    assert find_objects(one, (1, 2, 3)) == [Component(1, "kept", 0.006, 0.0, pytest.approx(math.nan, nan_ok=True))]
    assert roles(np.full((4, 5, 6), 2, np.uint8), (10, 10, 10)) == ["kidney"]


@pytest.mark.parametrize(
    ("labels", "spacing", "words"),
    [
        (np.zeros((4, 4), np.uint8), MM, "z, y, x"),
        (np.zeros((4, 4, 4), np.float32), MM, "float32"),
        (np.zeros((4, 4, 4), np.uint8), (1.0, 1.0), "three positive"),
        (np.zeros((4, 4, 4), np.uint8), (1.0, 0.0, 1.0), "three positive"),
        (np.zeros((4, 4, 4), np.uint8), (1.0, math.nan, 1.0), "three positive"),
    ],
)
def test_wrong_arguments(labels, spacing, words):
    with pytest.raises(ValueError, match=words):
        remove_distant_objects(labels, spacing)
    with pytest.raises(ValueError, match="limits"):
        remove_distant_objects(blank(), MM, distance_mm=math.nan)


@st.composite
def scenes(draw):
    """Small maps of a few boxes with voxels of about 10 mm, so that few voxels make a kidney."""
    shape = draw(st.tuples(*[st.integers(1, 12)] * 3))
    labels = np.zeros(shape, np.uint8)
    for _ in range(draw(st.integers(0, 6))):
        start = [draw(st.integers(0, size - 1)) for size in shape]
        place = tuple(slice(a, a + draw(st.integers(1, 4))) for a in start)
        labels[place] = draw(st.sampled_from([1, 1, 2]))
    spacing = draw(st.tuples(*[st.sampled_from([5.0, 7.5, 10.0, 12.3])] * 3))
    return labels, spacing


@settings(max_examples=150, deadline=None)
@given(scenes())
def test_only_removes_and_twice_is_once(scene):
    labels, spacing = scene
    before = labels.copy()
    result = remove_distant_objects(labels, spacing)
    assert np.array_equal(labels, before)
    assert result.dtype == labels.dtype
    assert np.array_equal(result[result > 0], labels[result > 0])
    assert result.any() == labels.any()
    assert np.array_equal(remove_distant_objects(result, spacing), result)
    # objects go whole: the report of the result is that of the input without the removed ones
    stay = [item.volume_ml for item in find_objects(labels, spacing) if item.role != "removed"]
    assert [item.volume_ml for item in find_objects(result, spacing)] == stay


@settings(max_examples=100, deadline=None)
@given(scenes(), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_same_under_flips_and_permuted_axes(scene, axes, flips):
    labels, spacing = scene

    def turn(array):
        flipped = np.flip(array, [axis for axis in range(3) if flips[axis]])
        return np.transpose(flipped, axes)  # a view, not contiguous

    turned = remove_distant_objects(turn(labels), [spacing[axis] for axis in axes])
    assert np.array_equal(turned, turn(remove_distant_objects(labels, spacing)))


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_against_all_pairs_of_voxels(scene):
    """The same rule written the slow way: scipy's labels, distances between all pairs of voxels."""
    from scipy.ndimage import label
    from scipy.spatial.distance import cdist

    labels, spacing = scene
    objects, count = label(labels > 0, np.ones((3, 3, 3)))
    points = [np.argwhere(objects == i) * spacing for i in range(1, count + 1)]
    large = [i for i in range(count) if len(points[i]) * math.prod(spacing) / 1000 >= 20]
    second = sorted((len(points[i]) for i in large), reverse=True)[:2][-1:]
    kidneys = [i for i in large if len(points[i]) >= second[0]]
    expected = labels.copy()
    for i in range(count if 1 not in labels.shape else 0):
        if kidneys and min(cdist(points[i], points[k]).min() for k in kidneys) > 20 + 1e-4:
            expected[objects == i + 1] = 0
    assert np.array_equal(remove_distant_objects(labels, spacing), expected)


def read_map(path):
    """Return (labels, spacing) of the labelled part of a KiTS file, header by nibabel; axes in the order x, y, z."""
    content = igzip.decompress(path.read_bytes())
    header = nib.Nifti1Header(content[:348])
    values = np.frombuffer(content, header.get_data_dtype(), offset=header.get_data_offset())
    labels = values.reshape(header.get_data_shape()[::-1])
    yz = np.argwhere(labels.max(axis=0))
    (top, left), (bottom, right) = yz.min(axis=0), yz.max(axis=0) + 1
    labels = labels[:, top:bottom, left:right]
    filled = np.flatnonzero(labels.max(axis=(1, 2)))
    return labels[filled[0] : filled[-1] + 1].astype(np.uint8), tuple(float(mm) for mm in header.get_zooms()[::-1])


def real_maps(shared_data, *cases):
    paths = sorted((shared_data / "kits19_labels").glob("case_*/segmentation.nii.gz"))
    if not paths:
        pytest.skip(f"{shared_data / 'kits19_labels'} is absent")
    return [path for path in paths if not cases or path.parent.name in cases]


def false_objects(labels, spacing, count, seed):
    """Return the map with blocks of 2 x 2 x 2 voxels, and each block's place and distance to the nearest kidney.

    Independent of the rule: the kidneys are SciPy's two largest objects of 20 mL, the distance is that between all
    voxels of a block and all of the kidneys' surface. None is in the last hundredth before the limit, or after it.
    """
    objects, _ = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    sizes = np.bincount(objects.ravel())[1:] * math.prod(spacing) / 1000
    kidneys = np.isin(objects, 1 + np.argsort(-sizes)[: min(2, np.count_nonzero(sizes >= 20))])
    surface = np.argwhere(kidneys & ~ndimage.binary_erosion(kidneys))
    tree = cKDTree(surface * np.array(spacing))
    rng = np.random.default_rng(seed)
    taken = ndimage.binary_dilation(labels > 0, np.ones((3, 3, 3)), iterations=2)
    corners = np.argwhere(np.ones((2, 2, 2)))
    made, places = labels.copy(), []
    while len(places) < count:
        near = surface[rng.integers(len(surface))] + rng.normal(0, 20, 3) / spacing  # most lie around the limit
        voxels = np.rint(near).astype(int) + corners
        if (voxels < 0).any() or (voxels >= labels.shape).any() or taken[tuple(voxels.T)].any():
            continue
        distance = tree.query(voxels * np.array(spacing))[0].min()
        if abs(distance - 20) < 0.01:
            continue
        start = voxels[0]
        taken[tuple(slice(max(0, a - 1), a + 3) for a in start)] = True
        made[tuple(voxels.T)] = 1 + len(places) % 2
        places.append((tuple(voxels.T), distance))
    return made, places


@pytest.mark.parametrize("case", ["case_00030", "case_00165", "case_00194"])  # one of a tenth; a speck; solitary
def test_true_labels_lose_next_to_nothing(shared_data, case):
    for path in real_maps(shared_data, case):
        labels, spacing = read_map(path)
        result, objects = apply_rule(labels, spacing)
        assert np.count_nonzero(result != labels) * math.prod(spacing) / 1000 < 0.02
        assert [item.role for item in objects].count("kidney") == (2 if case == "case_00030" else 1)


@pytest.mark.slow
def test_true_labels_and_100_false_objects(shared_data):
    """Of every second map the rule takes .02 mL at most and no tumor; of false objects exactly those beyond 20 mm."""
    paths = real_maps(shared_data)
    assert len(paths) == 126
    lost_ml, added, beyond = 0.0, 0, 0
    for number, path in enumerate(paths[::2]):
        labels, spacing = read_map(path)
        result, _ = apply_rule(labels, spacing)
        lost_ml += np.count_nonzero(result != labels) * math.prod(spacing) / 1000
        assert not (labels[result != labels] == 2).any(), path.parent.name
        if spacing[-1] >= 3 and added < 100:  # maps of thick slices have fewer voxels to compare
            around = np.pad(result, [(math.ceil(45 / mm),) * 2 for mm in spacing])
            noisy, places = false_objects(around, spacing, count=20, seed=number)
            expected = noisy.copy()
            for place, distance in places:
                if distance > 20:
                    expected[place] = 0
            assert np.array_equal(remove_distant_objects(noisy, spacing), expected), path.parent.name
            measured = [item.distance_mm for item in find_objects(noisy, spacing) if item.role != "kidney"]
            known = [distance for _, distance in places]
            assert np.abs(np.subtract.outer(known, measured)).min(axis=1).max() < 1e-3
            added, beyond = added + len(places), beyond + sum(distance > 20 for distance in known)
    assert lost_ml <= 0.02
    assert added == 100
    assert 30 <= beyond <= 70


def test_all_axes_of_a_real_kidney_give_the_same(shared_data):
    """A real map with noise added, in every order of its axes."""
    from data_prep.volume import read_labels

    path = shared_data / "kits19_labels" / "case_00030" / "segmentation.nii.gz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    volume = read_labels(path)
    labels = volume.voxels[:, ::4, ::4].copy()
    spacing = (volume.spacing_mm[0], volume.spacing_mm[1] * 4, volume.spacing_mm[2] * 4)
    labels[np.random.default_rng(0).random(labels.shape) < 0.002] = 1
    result = remove_distant_objects(labels, spacing)
    assert 0 < np.count_nonzero(labels != result) < np.count_nonzero(labels)
    for axes in itertools.permutations(range(3)):
        turned = remove_distant_objects(labels.transpose(axes), [spacing[axis] for axis in axes])
        assert np.array_equal(turned, result.transpose(axes))


def test_command(tmp_path, capsys):
    import SimpleITK as sitk

    from data_prep.volume import read_labels

    labels = two_kidneys()
    labels[20, 30, 75] = 2
    image = sitk.GetImageFromArray(labels.transpose(2, 1, 0))  # axes and signs of another kind, as KiTS has them
    image.SetDirection((0, 0, -1, 0, 1, 0, 1, 0, 0))
    image.SetOrigin((3.0, -7.5, 11.0))
    source, out = tmp_path / "in.nii.gz", tmp_path / "new" / "out.nii.gz"
    sitk.WriteImage(image, str(source))

    assert main([str(source), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "removed" in said
    assert str(out) in said
    before, after = read_labels(source), read_labels(out)
    assert after.source == before.source
    assert (before.voxels == 2).sum() == 1
    assert np.array_equal(after.voxels, np.where(before.voxels == 2, 0, before.voxels))

    assert main([str(source), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "--force" in error
    assert error.count("\n") == 1
    assert main([str(source), "--out", str(out), "--force", "--distance-mm", "40"]) == 0
    assert np.array_equal(read_labels(out).voxels, before.voxels)
    assert main([str(source), "--out", str(tmp_path / "x.nii.gz"), "--distance-mm", "-1"]) == 2
    assert main([str(tmp_path / "absent.nii.gz"), "--out", str(tmp_path / "x.nii.gz")]) == 2


def test_command_on_a_folder(tmp_path, capsys):
    """One bad file does not stop the others; the JSON has volumes, objects and flags of each case."""
    (tmp_path / "in").mkdir()
    speck = two_kidneys()
    speck[20, 30, 75] = 2
    for name, labels in (("one", two_kidneys()), ("two", speck), ("three", speck)):
        save(tmp_path / "in" / f"{name}.nii.gz", labels, np.diag([1.0, 1, 1, 1]))
    bad = tmp_path / "in" / "three.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-40])
    command = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--json", str(tmp_path / "report.json")]
    assert main(command) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert str(bad) in said.err
    assert "two: kidneys" in said.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.nii.gz", "two.nii.gz"]
    cleaned = np.asarray(nib.load(tmp_path / "out" / "two.nii.gz").dataobj)
    assert np.array_equal(cleaned, two_kidneys())
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["failed"]) == ["three"]
    assert report["cases"]["two"]["rule"]["removed_objects"] == 1
    assert report["cases"]["two"]["rule"]["components"][2]["reason"] == (
        "35.0 mm from the nearest kidney, more than 20 mm"
    )
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha"])
def test_command_reads_and_writes_any_label_file(tmp_path, ending):
    import SimpleITK as sitk

    labels = two_kidneys()
    labels[20, 30, 75] = 2
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / f"in{ending}"))
    assert main([str(tmp_path / f"in{ending}"), "--out", str(tmp_path / f"out{ending}")]) == 0
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"out{ending}"))), two_kidneys())


def test_help_is_quick(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    assert "20.0" in capsys.readouterr().out
