"""Images are on the disk as they were meant, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from support.full_disk import full_after

from data_prep.formats import image_writer
from data_prep.formats.image_source import FILE_ENDINGS
from data_prep.formats.image_writer import write_image
from data_prep.geometry.source_grid import SourceGrid
from data_prep.volume import read_labels

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
GRID = SourceGrid((7, 5, 3), (0.7, 0.8, 2.5), (1.25, -2.5, 3.75), (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0))


def voxels(dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, GRID.size[::-1]).astype(dtype)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_a_file_is_what_simpleitk_writes(tmp_path: Path, ending: str, dtype: type) -> None:
    made, theirs = tmp_path / f"made{ending}", tmp_path / f"theirs{ending}"
    write_image(voxels(dtype), GRID, made)
    image = sitk.GetImageFromArray(voxels(dtype))
    image.SetSpacing(GRID.spacing)
    image.SetOrigin(GRID.origin)
    image.SetDirection(GRID.direction)
    sitk.WriteImage(image, str(theirs), useCompression=True)
    found, expected = sitk.ReadImage(str(made)), sitk.ReadImage(str(theirs))
    assert found.GetPixelID() == expected.GetPixelID()
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(found, name)() == getattr(expected, name)()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), voxels(dtype))
    if ending.startswith(".nii"):
        ours, other = nib.load(made), nib.load(theirs)
        assert ours.header.binaryblock == other.header.binaryblock
        assert (ours.get_qform(coded=True)[1], ours.get_sform(coded=True)[1]) == (1, 1)
        np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(other.dataobj))


def test_an_ending_without_rules_of_its_own_is_refused_by_reader_and_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tuple(image_writer._ENCODINGS) == FILE_ENDINGS == ENDINGS
    path = tmp_path / "labels.vtk"  # ITK writes it, with another header
    monkeypatch.setattr("data_prep.volume.FILE_ENDINGS", (*FILE_ENDINGS, ".vtk"))
    monkeypatch.setitem(image_writer._ENCODINGS, ".vtk", "raw")
    for names in (False, True):
        with pytest.raises(ValueError, match=r"^\.vtk: .* no place in its header"):
            write_image(voxels(), GRID, path, names=names)
    with pytest.raises(ValueError, match=r"^\.vtk: names of labels"):
        image_writer._with_names(b"", voxels(), ".vtk")
    assert not list(tmp_path.iterdir())
    write_image(voxels(), GRID, tmp_path / "labels.nii")
    (tmp_path / "labels.nii").rename(path)
    with pytest.raises(ValueError, match="has no reader"):
        read_labels(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, ending: str) -> None:
    grid = SourceGrid((64, 64, 16), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), GRID.direction)
    noise = np.random.default_rng(0).integers(0, 3, grid.size[::-1]).astype(np.uint8)
    path = tmp_path / f"labels{ending}"
    path.write_bytes(b"old")
    with pytest.raises(OSError) as caught, full_after(4096):
        write_image(noise, grid, path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("harm", ["cut", "changed", "longer"])
def test_what_the_disk_loses_is_found(tmp_path: Path, ending: str, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def flush_and_lose(number: int) -> None:
        size = os.fstat(number).st_size
        if harm == "cut":
            os.truncate(number, size - 1)
        else:
            os.pwrite(number, b"\7", size - 3 if harm == "changed" else size)

    monkeypatch.setattr(image_writer.os, "fsync", flush_and_lose)
    with pytest.raises(OSError, match="cannot be read back"):
        write_image(voxels(), GRID, tmp_path / f"labels{ending}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.nii.nii.gz", "b.nii.gz.nii.gz", "c.hdr.nii.gz", "d.img.nii", "e.nii.mha"])
@pytest.mark.parametrize("folder", ["M\u00fcller", os.fsdecode(b"M\xfcller"), "x.nii.gz"])
def test_any_name_is_kept(tmp_path: Path, folder: str, name: str) -> None:
    write_image(voxels(), GRID, tmp_path / folder / name)
    assert [path.name for path in (tmp_path / folder).iterdir()] == [name]


def test_bad_arguments(tmp_path: Path) -> None:
    for array, name in ((voxels()[1:], "a.nii"), (voxels(), "a.png")):
        with pytest.raises(ValueError, match="expected"):
            write_image(array, GRID, tmp_path / name)
