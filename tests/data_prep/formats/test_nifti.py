from __future__ import annotations

import gzip
import struct
import tracemalloc
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from support.helpers import KITS_AFFINE, one_line, save

from data_prep.errors import InputError
from data_prep.formats.nifti import open_nifti, parse_header
from data_prep.volume import read_image, read_labels, read_volume, write_labels


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
        "half.nii.gz": (whole[: len(whole) // 2], "truncated", "truncated"),
        "almost.nii.gz": (whole[:-4], "truncated", "truncated"),
        "altered.nii.gz": (bytes(middle), "damaged", "damaged"),
        "rewrapped.nii.gz": (gzip.compress(inflated[:-500]), "truncated", "truncated"),
        "short.nii": (inflated[:-1], "truncated", "truncated"),
        "header.nii": (inflated[:100], "not a NIfTI-1 file", "not_an_image"),
        "empty.nii.gz": (b"", "empty", "empty_file"),
        "page.nii.gz": (b"<html>not found</html>" * 40, "not a NIfTI-1 file", "not_an_image"),
        "compressed.nii": (whole, "rename", "wrong_name"),
        "image.png": (whole, "name", "wrong_name"),
    }
    for name, (content, word, code) in damaged.items():
        (tmp_path / name).write_bytes(content)
        for read in (read_volume, read_labels):
            with pytest.raises(InputError, match=word) as caught:
                read(tmp_path / name)
            assert name in one_line(caught)
            assert (caught.value.path, caught.value.code) == (tmp_path / name, code)


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


def test_several_gzip_members_and_zeros_after_them_are_read_and_other_bytes_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-1000, 1000, (4, 300, 320)).astype(np.int16)
    inflated = gzip.decompress(save(tmp_path / "a.nii.gz", noise).read_bytes())
    cuts = (0, 100, 352, 70_000, 500_001, len(inflated))
    members = [gzip.compress(inflated[a:b]) for a, b in pairwise(cuts)] + [gzip.compress(b"")]
    for padding in (b"", bytes(1), bytes(3_000_000)):
        (tmp_path / "a.nii.gz").write_bytes(b"".join(members) + padding)
        assert np.array_equal(read_image(tmp_path / "a.nii.gz").values, noise.transpose(2, 1, 0))
    for rest, code in ((b"x", "truncated"), (b"\x1f", "truncated"), (b"bytes that are not gzip", "damaged")):
        (tmp_path / "a.nii.gz").write_bytes(b"".join(members) + bytes(10) + rest)
        with pytest.raises(InputError, match=code) as caught:
            read_volume(tmp_path / "a.nii.gz")
        assert caught.value.code == code
    (tmp_path / "a.nii.gz").write_bytes(b"".join(members[:-1]) + members[-2][:-3])
    with pytest.raises(InputError, match="truncated"):
        read_volume(tmp_path / "a.nii.gz")


def test_megabytes_without_data_are_refused_at_once(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.zeros((4, 5, 6), np.int16))
    whole, empty = path.read_bytes(), gzip.compress(b"")
    long_name = b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 600_000 + b"\0" + empty[10:]
    for content in (empty * 250_000 + whole, whole + empty * 250_000, whole + bytes(9_000_000)):
        path.write_bytes(content)
        with pytest.raises(InputError, match="4 MiB of it hold no data") as caught:
            read_image(path)
        assert caught.value.code == "damaged"
    path.write_bytes(long_name + whole)
    with pytest.raises(InputError, match="header exceeds"):
        read_image(path)
    path.write_bytes(empty * 1000 + whole + empty * 1000)
    assert not read_image(path).values.any()


def test_megabytes_of_data_that_do_not_shrink_are_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-(2**15), 2**15, (4000, 2000, 2)).astype(np.int16)
    content = gzip.compress(save(tmp_path / "a.nii", noise).read_bytes(), 1)
    assert len(content) > 30e6
    (tmp_path / "a.nii.gz").write_bytes(content)
    assert np.array_equal(read_image(tmp_path / "a.nii.gz").values, noise.transpose(2, 1, 0))


def test_every_flipped_byte_of_a_compressed_file_is_found(tmp_path: Path) -> None:
    content = save(tmp_path / "a.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5)).read_bytes()
    expected = read_image(tmp_path / "a.nii.gz").values
    found = 0
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 0x15
        (tmp_path / "b.nii.gz").write_bytes(flipped)
        try:
            values = read_image(tmp_path / "b.nii.gz").values
        except InputError as error:
            found += 1
            assert "\n" not in str(error)
        else:  # the time in gzip's own header, or another way to write the same bytes
            assert gzip.decompress(flipped) == gzip.decompress(content)
            assert np.array_equal(values, expected)
    assert found > 0.9 * len(content)


DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", DTYPES)
def test_voxels_equal_those_of_simpleitk_and_nibabel(tmp_path: Path, dtype: str, order: str, version: int) -> None:
    low, high = (-40, 40) if dtype[0] == "f" else (max(np.iinfo(dtype).min, -1100), min(np.iinfo(dtype).max, 3000))
    voxels = np.random.default_rng(2).uniform(low, high, (3, 5, 7)).astype(dtype)
    kind, header_kind = {1: (nib.Nifti1Image, nib.Nifti1Header), 2: (nib.Nifti2Image, nib.Nifti2Header)}[version]
    for slope, inter in ((np.nan, np.nan), (1, 0), (0.25, -1024), (0.1, 3.3), (-2, 0), (1, -1000)):
        header = header_kind(endianness=order)
        header.set_data_dtype(np.dtype(order + dtype))
        nib.save(kind(voxels, KITS_AFFINE, header, dtype=order + dtype), tmp_path / "a.nii")
        content = bytearray((tmp_path / "a.nii").read_bytes())
        scale = np.array([slope, inter], order + ("f4" if version == 1 else "f8")).tobytes()
        start = 112 if version == 1 else 176
        content[start : start + len(scale)] = scale
        (tmp_path / "a.nii").write_bytes(content)
        (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(content)))
        seen = np.asarray(nib.load(tmp_path / "a.nii").dataobj).transpose(2, 1, 0)
        for name in ("a.nii", "b.nii.gz"):
            values = read_image(tmp_path / name).values
            assert values.dtype.isnative
            if version == 1:
                itk = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name)))
                assert values.dtype == itk.dtype
                assert np.array_equal(values, itk)
            assert values == pytest.approx(seen, rel=3e-7, abs=1e-6)
            assert slope == slope or np.array_equal(values, voxels.transpose(2, 1, 0))


def patched(path: Path, *changes: tuple[int, str, tuple]) -> Path:
    """Overwrite fields of the header of a small sound file: (offset, struct format, values)."""
    content = bytearray(
        gzip.decompress(save(path.with_name("sound.nii.gz"), np.ones((2, 3, 4), np.int16)).read_bytes())
    )
    for offset, form, values in changes:
        struct.pack_into("<" + form, content, offset, *values)
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


NAN, INFINITE = float("nan"), float("inf")
ROTATED = (0, 0, -0.8, 0, 0, -0.8, 0, 0, -3, 0, 0, 0)
HOSTILE = {
    "terabytes": ([(40, "8h", (3, 32767, 32767, 32767, 1, 1, 1, 1))], "at most 16 GiB"),
    "gigabytes": ([(40, "8h", (3, 2000, 2000, 2000, 1, 1, 1, 1))], "truncated or its header is wrong"),
    "no voxels": ([(40, "8h", (3, 2, 0, 4, 1, 1, 1, 1))], "claims 2 x 0 x 4 voxels"),
    "negative": ([(40, "8h", (3, 2, -3, 4, 1, 1, 1, 1))], "claims 2 x -3 x 4 voxels"),
    "many axes": ([(40, "8h", (7, 32767, 32767, 32767, 32767, 32767, 32767, 32767))], "at most 16 GiB"),
    "8 axes": ([(40, "8h", (8, 2, 3, 4, 1, 1, 1, 1))], "not a NIfTI-1 file"),
    "-1 axes": ([(40, "8h", (-1, 2, 3, 4, 1, 1, 1, 1))], "not a NIfTI-1 file"),
    "far": ([(108, "f", (1e15,))], "truncated or its header is wrong"),
    "near": ([(108, "f", (100,))], "not a NIfTI-1 file"),
    "nowhere": ([(108, "f", (NAN,))], "not a NIfTI-1 file"),
    "type": ([(70, "h", (77,))], "holds 2 x 3 x 4 of data type 77"),
    "spacing 0": ([(76, "4f", (1, 0, 0.8, 0.8))], "pixdim 0 x 0.8 x 0.8"),
    "spacing -3": ([(76, "4f", (1, -3, 0.8, 0.8))], "pixdim -3 x 0.8 x 0.8"),
    "spacing NaN": ([(76, "4f", (1, NAN, 0.8, 0.8))], "pixdim nan x 0.8 x 0.8"),
    "spacing infinite": ([(76, "4f", (1, 3, INFINITE, 0.8))], "pixdim 3 x inf x 0.8"),
    "NaN in sform": ([(280, "12f", (NAN, *ROTATED[1:]))], "NaN or infinity"),
    "infinite origin": ([(280, "12f", (*ROTATED[:3], INFINITE, *ROTATED[4:]))], "NaN or infinity"),
    "sheared": ([(280, "12f", (0.5, *ROTATED[1:]))], "orthonormal"),
    "flat": ([(280, "12f", (0,) * 12)], "header cannot be used|contradict"),
    "huge": ([(280, "12f", [1e30 * v for v in ROTATED])], "header cannot be used|contradict"),
    "other spacing": ([(76, "4f", (1, 3, 0.8, 0.9))], "contradict each other"),
    "other qform": ([(252, "2h", (1, 2)), (256, "6f", (0, 0, 0, 0, 0, 0))], "contradict each other"),
    "slope only": ([(112, "2f", (2, NAN))], "scl_slope 2 with scl_inter nan"),
    "intercept only": ([(112, "2f", (0, -1024))], "scl_slope 0 with scl_inter -1024"),
    "infinite slope": ([(112, "2f", (INFINITE, 5))], "scl_slope inf with scl_inter 5"),
    "overflow": ([(112, "2f", (1e37, 0)), (352, "h", (32767,))], "1 voxels are NaN or infinite"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_hostile_headers_are_refused_before_memory_is_taken(tmp_path: Path, name: str, ending: str, capfd) -> None:
    changes, words = HOSTILE[name]
    path = patched(tmp_path / ("hostile" + ending), *changes)
    tracemalloc.start()
    try:
        for read in (read_volume, read_labels):
            with pytest.raises(InputError, match=words) as caught:
                read(path)
            assert "hostile" in one_line(caught)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    assert capfd.readouterr() == ("", "")


def test_what_inflates_to_more_than_its_header_says_is_not_inflated(tmp_path: Path) -> None:
    sound = gzip.decompress(save(tmp_path / "a.nii.gz", np.ones((2, 3, 4), np.int16)).read_bytes())
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(sound + bytes(1 << 20)))
    assert read_volume(tmp_path / "a.nii.gz").voxels.sum() == 24
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(sound + bytes(300 << 20), 1))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="inflates to more than its header says") as caught:
            read_volume(tmp_path / "a.nii.gz")
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    one_line(caught)


def test_a_header_without_orientation_is_taken_for_axial_as_simpleitk_does_and_said(tmp_path: Path) -> None:
    volume = read_volume(patched(tmp_path / "a.nii", (252, "2h", (0, 0))))
    assert volume.source.direction == sitk.ReadImage(str(tmp_path / "a.nii")).GetDirection()
    assert volume.voxels.shape == (4, 3, 2)
    assert len(volume.notes) == 1 and "no orientation" in volume.notes[0]


@pytest.mark.parametrize("forms", [(1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("version", [1, 2])
def test_the_affine_is_nibabels_whichever_form_holds_it(tmp_path: Path, forms: tuple[int, int], version: int) -> None:
    for mirror in (1, -1):
        turn = nib.eulerangles.euler2mat(0.3, -0.2, 0.5)
        affine = nib.affines.from_matvec(turn * (0.7, 1.1, mirror * 2.5), (11.5, -20.25, 7))
        image = (nib.Nifti1Image if version == 1 else nib.Nifti2Image)(np.ones((2, 3, 4), np.uint8), affine)
        image.set_qform(affine, forms[0])
        image.set_sform(affine, forms[1])
        nib.save(image, tmp_path / "a.nii.gz")
        volume = read_labels(tmp_path / "a.nii.gz")
        write_labels(volume.voxels, volume.source, tmp_path / "b.nii.gz")
        assert np.allclose(nib.load(tmp_path / "b.nii.gz").affine, nib.load(tmp_path / "a.nii.gz").affine, atol=1e-5)


def test_units_other_than_millimeters_count(tmp_path: Path) -> None:
    for code, factor in ((1, 1000), (2, 1), (3, 0.001), (0, 1)):
        volume = read_volume(patched(tmp_path / "a.nii", (123, "B", (code,))))
        assert volume.source.spacing == pytest.approx([factor * mm for mm in (3, 0.8, 0.8)], rel=1e-6)


def test_nifti_2_holds_axes_that_nifti_1_cannot(tmp_path: Path) -> None:
    voxels = np.arange(40_000, dtype=np.int16).reshape(40_000, 1, 1)
    nib.save(nib.Nifti2Image(voxels, KITS_AFFINE), tmp_path / "two.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "two.nii.gz").voxels, voxels[::-1])


def test_a_header_is_none_unless_it_is_a_single_file_of_either_version() -> None:
    one = nib.Nifti1Header().binaryblock
    assert parse_header(one) is None  # no axis
    header = nib.Nifti1Header()
    header.set_data_shape((4, 5, 6))
    header["vox_offset"] = 352
    header["magic"] = b"ni1"  # voxels in another file
    assert parse_header(header.binaryblock) is None
    header["magic"] = b"n+1"
    assert parse_header(header.binaryblock)["dim"].tolist() == [3, 4, 5, 6, 1, 1, 1, 1]
    assert parse_header(header.binaryblock[:347]) is None
    assert parse_header(b"") is None
    assert parse_header(bytes(540)) is None


def test_a_half_turn_is_exact_in_a_quaternion_of_single_precision(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ones((4, 512, 512), np.uint8), None)
    image.set_qform(KITS_AFFINE, 1)
    image.set_sform(None, 0)
    nib.save(image, tmp_path / "a.nii.gz")
    left = 1 - sum(float(image.header[f"quatern_{name}"]) ** 2 for name in "bcd")
    assert 0 < left < 1e-7  # the trap: its root would move the far corner by a fifth of a millimeter
    volume = read_labels(tmp_path / "a.nii.gz")
    write_labels(volume.voxels, volume.source, tmp_path / "b.nii.gz")
    assert np.allclose(nib.load(tmp_path / "b.nii.gz").affine, KITS_AFFINE, atol=1e-6)


def test_all_real_label_maps_are_sound(shared_data: Path) -> None:
    paths = sorted((shared_data / "kits19_labels").glob("*/segmentation.nii.gz"))
    assert len(paths) == 126
    for path in paths:
        assert open_nifti(path).grid.size == nib.load(path).shape, path
