from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from helpers import KITS_AFFINE, one_line, save

from data_prep.command import InputError
from data_prep.nifti import parse_header
from data_prep.volume import read_image, read_labels, read_volume


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_though_itk_reads_zeros(tmp_path: Path, bad: float, dtype: str) -> None:
    voxels = np.zeros((70, 80, 90), dtype)  # more than one chunk
    voxels[1, 1, 1] = voxels[-1, -1, -1] = bad
    header = nib.Nifti1Header(endianness=dtype[0])
    for name in ("imaging.nii.gz", "imaging.nii"):
        nib.save(nib.Nifti1Image(voxels, KITS_AFFINE, header), tmp_path / name)
        assert np.isfinite(sitk.GetArrayViewFromImage(sitk.ReadImage(str(tmp_path / name)))).all()
        for read in (read_volume, read_labels):
            with pytest.raises(InputError, match="2 voxels are NaN or infinite") as caught:
                read(tmp_path / name)
            one_line(caught)


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    noise = np.random.default_rng(0).integers(-1000, 1000, (4, 32, 32)).astype(np.int16)
    return save(tmp_path / "whole.nii.gz", noise).read_bytes()


def test_damaged_files_are_refused_though_itk_reads_them(tmp_path: Path, whole: bytes) -> None:
    inflated = gzip.decompress(whole)
    middle = bytearray(whole)
    middle[len(whole) // 2] ^= 0xFF
    damaged = {
        "half.nii.gz": (whole[: len(whole) // 2], "truncated"),
        "almost.nii.gz": (whole[:-4], "truncated"),
        "altered.nii.gz": (bytes(middle), "damaged"),
        "rewrapped.nii.gz": (gzip.compress(inflated[:-500]), "truncated"),
        "short.nii": (inflated[:-1], "truncated"),
        "header.nii": (inflated[:100], "no NIfTI file"),
        "empty.nii.gz": (b"", "empty"),
        "page.nii.gz": (b"<html>not found</html>" * 40, "no NIfTI file"),
        "compressed.nii": (whole, "rename"),
        "image.png": (whole, "name"),
    }
    for name, (content, word) in damaged.items():
        (tmp_path / name).write_bytes(content)
        for read in (read_volume, read_labels):
            with pytest.raises(InputError, match=word) as caught:
                read(tmp_path / name)
            assert name in one_line(caught)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_volume(tmp_path / "absent.nii.gz")
    (tmp_path / "folder.nii.gz").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_volume(tmp_path / "folder.nii.gz")


def test_both_byte_orders_are_read_compressed_or_not(tmp_path: Path) -> None:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    big = nib.Nifti1Image(voxels, KITS_AFFINE, header)
    nib.save(big, tmp_path / "big.nii")
    (tmp_path / "big.nii.gz").write_bytes(gzip.compress((tmp_path / "big.nii").read_bytes()))
    for name in ("big.nii", "big.nii.gz"):
        assert np.array_equal(read_volume(tmp_path / name).voxels, voxels[::-1])


def test_nifti_2_is_refused_in_one_line(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(np.zeros((2, 3, 4), np.int16), KITS_AFFINE), tmp_path / "two.nii.gz")
    with pytest.raises(InputError, match="no NIfTI file") as caught:
        read_volume(tmp_path / "two.nii.gz")
    one_line(caught)
