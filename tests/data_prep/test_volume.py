from __future__ import annotations

import os
import subprocess
import sys
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from support.helpers import KITS_AFFINE, one_line, save

from data_prep.errors import InputError
from data_prep.geometry.source_grid import SourceGrid, check_grid, same_grid
from data_prep.volume import read_image, read_labels, read_volume, write_labels


def all_48_axis_orders() -> list[np.ndarray]:
    spacing = (0.7, 1.1, 2.5)
    matrices = []
    for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = 0
        for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
            affine[axis, column] = sign * spacing[column]
        affine[:3, 3] = (11.5, -20.25, 7.0)
        matrices.append(affine)
    return matrices


def rotation(x: float, y: float, z: float) -> np.ndarray:
    def turn(angle: float, i: int, j: int) -> np.ndarray:
        matrix = np.eye(3)
        matrix[[i, i, j, j], [i, j, i, j]] = (np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))
        return matrix

    return turn(x, 1, 2) @ turn(y, 0, 2) @ turn(z, 0, 1)


@pytest.mark.parametrize("angles", [(0, 0, 0), (0.2, -0.1, 0.3), (0.0, 0.0, np.pi / 4)])
def test_voxels_are_axial_and_labels_return_to_their_own_grid_in_every_axis_order(tmp_path: Path, angles) -> None:
    # two labelled voxels must lie, in the array, where their millimeters say, and return to where they were
    voxels = np.zeros((3, 4, 5), np.uint8)
    voxels[0, 1, 3] = 2
    voxels[2, 3, 4] = 1
    for straight in all_48_axis_orders():
        affine = straight.copy()
        affine[:3, :3] = rotation(*angles) @ straight[:3, :3]
        source = save(tmp_path / "segmentation.nii.gz", voxels, affine)
        volume = read_labels(source)
        oriented = sitk.DICOMOrient(sitk.ReadImage(str(source)), "LPS")
        assert np.array_equal(volume.voxels, sitk.GetArrayFromImage(oriented))
        assert volume.spacing_mm == pytest.approx(oriented.GetSpacing()[::-1])
        if angles == (0, 0, 0):
            # RAS millimeters of both voxels: in LPS order, z grows with S, y falls with A, x falls with R
            tumor_mm = affine @ (0, 1, 3, 1)
            kidney_mm = affine @ (2, 3, 4, 1)
            steps = np.argwhere(volume.voxels == 1)[0] - np.argwhere(volume.voxels == 2)[0]
            expected = (kidney_mm - tumor_mm)[:3][::-1] * (1, -1, -1)  # x, y, z -> z, y, x
            assert steps * volume.spacing_mm == pytest.approx(expected)
        write_labels(volume.voxels, volume.source, tmp_path / "out.nii.gz")
        back = nib.load(tmp_path / "out.nii.gz")
        assert np.allclose(back.affine, nib.load(source).affine, atol=1e-5)
        assert np.array_equal(np.asarray(back.dataobj), voxels)
        assert back.get_data_dtype() == np.uint8
        assert same_grid(read_labels(tmp_path / "out.nii.gz").source, volume.source)


@pytest.mark.parametrize("ending", ["nii", "nrrd", "mha"])
@settings(max_examples=40, deadline=None)
@given(
    order=st.integers(0, 47),
    angles=st.tuples(*[st.floats(-np.pi, np.pi)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 8)] * 3),
    origin=st.tuples(*[st.floats(-600, 600)] * 3),
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    seed=st.integers(0, 1000),
)
def test_labels_return_to_their_own_grid_however_it_lies(
    tmp_path_factory, ending: str, order: int, angles, spacing, origin, shape, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("grids")
    labels = np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)
    signs = np.sign(all_48_axis_orders()[order][:3, :3])
    affine = nib.affines.from_matvec(rotation(*angles) @ signs * spacing, origin)
    source = save(folder / "source.nii.gz", labels, affine)
    if ending != "nii":
        sitk.WriteImage(sitk.ReadImage(str(source)), str(folder / f"source.{ending}"), useCompression=bool(seed % 2))
        source = folder / f"source.{ending}"
    volume = read_labels(source)
    write_labels(volume.voxels, volume.source, folder / f"out.{ending}")
    there, back = sitk.ReadImage(str(source)), sitk.ReadImage(str(folder / f"out.{ending}"))
    assert np.array_equal(sitk.GetArrayFromImage(there), labels.transpose(2, 1, 0))
    assert np.array_equal(sitk.GetArrayFromImage(back), labels.transpose(2, 1, 0))
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(back, name)() == pytest.approx(getattr(there, name)(), rel=1e-6, abs=1e-6)
    if ending == "nii":
        assert np.allclose(nib.load(folder / "out.nii").affine, affine, rtol=1e-6, atol=1e-5)
    assert same_grid(read_labels(folder / f"out.{ending}").source, volume.source)


def test_the_slabs_of_a_volume_make_the_whole(tmp_path: Path) -> None:
    # more planes than a slab holds, along each axis
    voxels = np.random.default_rng(0).integers(-1000, 1000, (70, 40, 45)).astype(np.int16)
    for affine in all_48_axis_orders()[::7]:
        path = save(tmp_path / "imaging.nii.gz", voxels, affine)
        oriented = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
        volume = read_volume(path)
        assert np.array_equal(volume.voxels, sitk.GetArrayFromImage(oriented))
        assert volume.voxels.flags.c_contiguous
        assert np.array_equal(read_image(path).values, voxels.transpose(2, 1, 0))


def check_round_trip(source: Path, out: Path) -> None:
    volume = read_labels(source)
    write_labels(volume.voxels, volume.source, out)
    there, back = nib.load(source), nib.load(out)
    assert np.allclose(there.affine, back.affine, atol=1e-5)
    assert np.array_equal(np.asarray(there.dataobj), np.asarray(back.dataobj))
    a, b = sitk.ReadImage(str(source)), sitk.ReadImage(str(out))
    assert a.GetSize() == b.GetSize()
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(a, name)() == pytest.approx(getattr(b, name)(), abs=1e-6)


@pytest.mark.parametrize("name", ["case_00004", "case_00032", "case_00044"])
def test_kits19_labels_return_to_their_own_grid(shared_data: Path, tmp_path: Path, name: str) -> None:
    check_round_trip(shared_data / "kits19_labels" / name / "segmentation.nii.gz", tmp_path / "out.nii.gz")


def test_the_other_real_files_return_to_their_own_grid(shared_data: Path, tmp_path: Path) -> None:
    case = shared_data / "real_ct" / "case_90000"
    check_round_trip(case / "segmentation.nii.gz", tmp_path / "a.nii.gz")
    one_slice = next((shared_data / "kits_real_slices").glob("case_*"))
    check_round_trip(one_slice / "segmentation.nii.gz", tmp_path / "b.nii.gz")
    assert same_grid(read_volume(case / "imaging.nii.gz").source, read_labels(case / "segmentation.nii.gz").source)


def test_a_kits_file_is_sagittal_in_simpleitk_and_axial_here(shared_data: Path) -> None:
    path = shared_data / "kits19_labels" / "case_00004" / "segmentation.nii.gz"
    as_stored = np.asarray(nib.load(path).dataobj)  # (slice from superior to inferior, row, column)
    volume = read_labels(path)
    assert np.array_equal(volume.voxels, as_stored[::-1])
    assert volume.source.size == as_stored.shape
    assert volume.source.orientation == "IPL"
    assert volume.spacing_mm == pytest.approx((4.0, 0.9765625, 0.9765625))


def test_the_spine_is_below_the_middle_and_the_liver_on_the_left_of_a_real_slice(shared_data: Path) -> None:
    folder = shared_data / "kits_real_slices" / "case_00135_s0103"
    image = read_volume(folder / "imaging.nii.gz").voxels[0]
    bone = np.argwhere(image[:, 180:330] > 240)
    assert len(bone) > 200
    assert bone[:, 0].mean() > np.argwhere(image > 0)[:, 0].mean()


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (np.int16, [-1024, 40], [-1024, 40]),
        (np.uint8, [0, 255], [0, 255]),
        (np.uint16, [7, 65535], [7, 32767]),
        (np.int32, [-100000, 100000], [-32768, 32767]),
        (np.float32, [-10.6, 1e9], [-11, 32767]),
        (np.float64, [0.4, -0.6], [0, -1]),
    ],
)
def test_grey_values_become_int16_hu(tmp_path: Path, dtype, values, expected) -> None:
    path = save(tmp_path / "imaging.nii.gz", np.array(values, dtype).reshape(1, 1, 2))
    hu = read_volume(path).voxels
    assert hu.dtype == np.int16
    assert sorted(hu.ravel().tolist()) == sorted(expected)


def test_slope_and_intercept_of_the_header_count(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.full((2, 2, 2), 100, np.int16), KITS_AFFINE)
    image.header.set_slope_inter(2.0, -1000.0)
    image.dataobj  # noqa: B018
    nib.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = np.array([2.0, -1000.0], "<f4").tobytes()
    raw[352:] = np.full(8, 100, "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    assert set(read_volume(tmp_path / "a.nii").voxels.ravel().tolist()) == {-800}


def test_a_fourth_axis_of_one_is_dropped_and_all_else_is_refused(tmp_path: Path) -> None:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume = read_volume(save(tmp_path / "one.nii.gz", voxels[..., None]))
    assert volume.voxels.shape == (2, 3, 4)
    assert volume.source == read_volume(save(tmp_path / "plain.nii.gz", voxels)).source
    for name, other in {
        "two": np.zeros((2, 3, 4, 2), np.int16),
        "flat": np.zeros((3, 4), np.int16),
        "vector": np.zeros((2, 3, 4, 1, 3), np.float32),
        "complex": np.zeros((2, 3, 4), np.complex64),
    }.items():
        with pytest.raises(InputError, match=r"expected one 3-D image|cannot be read") as caught:
            read_volume(save(tmp_path / f"{name}.nii.gz", other))
        one_line(caught)


@pytest.mark.parametrize(("values", "named"), [([0, 4], "4"), ([0, -1], "-1"), ([0, 1.5], "1.5"), ([255, 2], "255")])
def test_other_label_values_are_refused(tmp_path: Path, values: list[float], named: str) -> None:
    dtype = np.float32 if 1.5 in values else np.int16
    with pytest.raises(InputError, match=f"label values {named} found") as caught:
        read_labels(save(tmp_path / "s.nii.gz", np.array(values, dtype).reshape(1, 2, 1)))
    one_line(caught)


def test_labels_may_be_stored_as_floats(tmp_path: Path) -> None:
    labels = read_labels(save(tmp_path / "s.nii.gz", np.array([0, 1, 2, 3], np.float32).reshape(1, 2, 2)))
    assert labels.voxels.dtype == np.uint8
    assert sorted(labels.voxels.ravel()) == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_labels_that_nibabel_stored_with_a_slope_are_whole_numbers_again(tmp_path: Path, dtype: type) -> None:
    voxels = np.arange(24).reshape(2, 3, 4) % 3
    image = nib.load(save(tmp_path / "a.nii.gz", voxels.astype(dtype), KITS_AFFINE))
    nib.save(nib.Nifti1Image(image.get_fdata(), image.affine, image.header), tmp_path / "b.nii.gz")
    again = nib.load(tmp_path / "b.nii.gz").get_fdata()
    assert again.max() != 2 or (again != np.rint(again)).any()  # the trap
    expected, labels = (read_labels(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz"))
    np.testing.assert_array_equal(labels.voxels, expected.voxels)
    assert expected.notes == () and len(labels.notes) == 1 and "slope" in labels.notes[0]


def grid(**changes) -> SourceGrid:
    values = {
        "size": (100, 100, 1),
        "spacing": (1.0, 1.0, 5.0),
        "origin": (0.0, 0.0, 0.0),
        "direction": tuple(np.eye(3).ravel().tolist()),
    }
    return SourceGrid(**{**values, **changes})


def test_same_grid_lets_rounding_pass_and_nothing_more() -> None:
    assert same_grid(grid(), grid())
    assert same_grid(grid(), grid(origin=(0.09, 0.0, 0.0)))
    assert not same_grid(grid(), grid(origin=(0.11, 0.0, 0.0)))
    assert same_grid(grid(), grid(spacing=(1.0005, 1.0, 5.0)))  # the last corner moves by 0.05 mm
    assert not same_grid(grid(), grid(spacing=(1.002, 1.0, 5.0)))  # by 0.2 mm
    assert not same_grid(grid(), grid(spacing=(1.0, 1.0, 4.0)))  # an axis of one voxel has a spacing, too
    assert not same_grid(grid(), grid(size=(100, 100, 2)))
    assert not same_grid(grid(), grid(direction=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)))
    assert not same_grid(grid(), grid(origin=(np.nan, 0.0, 0.0)))


def test_labels_of_another_shape_or_name_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(1, 100, 100\)"):
        write_labels(np.zeros((100, 100, 1), np.uint8), grid(), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"\.nii\.gz"):
        write_labels(np.zeros((1, 100, 100), np.uint8), grid(), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
    write_labels(np.zeros((1, 100, 100), np.uint8), grid(), tmp_path / "a.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes()[:2] == b"\x1f\x8b"  # compressed
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("name", ["a.nhdr", "a.mhd", "a.hdr", "a.png", "a.dcm", "a"])
def test_files_of_other_kinds_are_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read_volume(tmp_path / name)
    (tmp_path / name).write_bytes(b"x" * 1000)
    with pytest.raises(
        InputError, match=r"two files|one DICOM file|does not end in \.nii\.gz, \.nii, \.nrrd, \.mha"
    ) as caught:
        read_volume(tmp_path / name)
    one_line(caught)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spacing": (1.0, 0.0, 5.0)}, "spacing is 1 x 0 x 5 mm"),
        ({"spacing": (1.0, -1.0, 5.0)}, "spacing is 1 x -1 x 5 mm"),
        ({"spacing": (np.nan, 1.0, 5.0)}, "spacing is nan x 1 x 5 mm"),
        ({"spacing": (np.inf, 1.0, 5.0)}, "spacing is inf x 1 x 5 mm"),
        ({"origin": (0.0, np.inf, 0.0)}, "origin or direction is NaN"),
        ({"direction": (np.nan, 0, 0, 0, 1, 0, 0, 0, 1)}, "origin or direction is NaN"),
        ({"direction": (1, 0.01, 0, 0, 1, 0, 0, 0, 1)}, "sheared"),
        ({"direction": (1, 0, 0, 0, 1, 0, 0, 0, 0)}, "sheared"),
        ({"direction": (2, 0, 0, 0, 1, 0, 0, 0, 1)}, "sheared"),
    ],
)
def test_a_geometry_that_is_none_is_refused(changes: dict, words: str) -> None:
    check_grid(grid(), Path("a.mha"))
    with pytest.raises(InputError, match=f"a.mha: .*{words}") as caught:
        check_grid(grid(**changes), Path("a.mha"))
    one_line(caught)


def test_reading_takes_little_more_memory_than_the_voxels(tmp_path: Path) -> None:
    # 134 MB of voxels in KiTS's axis order, which have to be turned
    path = save(tmp_path / "imaging.nii.gz", np.zeros((256, 512, 512), np.int16))
    code = (
        "import sys; from data_prep.volume import read_volume; from support.helpers import peak_mb;"
        "read_volume(sys.argv[2]); before = peak_mb();"  # libraries are loaded
        "print(read_volume(sys.argv[1]).voxels.nbytes >> 20, peak_mb() - before)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    small = save(tmp_path / "small.nii.gz", np.zeros((2, 5, 4), np.int16))
    command = [sys.executable, "-c", code, str(path), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    voxels_mb, taken_mb = map(int, done.stdout.split())
    assert voxels_mb == 128
    assert taken_mb < voxels_mb + 50  # one slab


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        read_volume(tmp_path / "a.nii.gz")
    (tmp_path / "loop.nii.gz").symlink_to(tmp_path / "loop.nii.gz")
    with pytest.raises(InputError, match="no such file"):
        read_volume(tmp_path / "loop.nii.gz")


def test_a_machine_without_the_memory_is_told_so(tmp_path: Path, monkeypatch) -> None:
    path = save(tmp_path / "a.nii.gz", np.ones((2, 3, 4), np.int16))
    with monkeypatch.context() as patch:
        patch.setattr(np, "empty", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError, match="2 x 3 x 4 voxels of 2 bytes: not enough memory"):
            read_volume(path)
