"""NRRD and MetaImage: voxels and grid against SimpleITK's reading, damage, and headers that are not to be believed."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.helpers import one_line

from data_prep.errors import InputError
from data_prep.volume import read_image, read_labels, read_volume

ENDINGS = ("nrrd", "mha")


def image_of(voxels: np.ndarray) -> sitk.Image:
    """Return an oblique, anisotropic image."""
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.7, 1.1, 2.5))
    image.SetOrigin((-11.5, 20.25, 7.0))
    turned = sitk.VersorTransform((0.3, 0.5, 0.8), 0.4)
    image.SetDirection(turned.GetMatrix())
    return image


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_voxels_and_grid_equal_those_of_simpleitk(tmp_path: Path, ending: str, dtype: str) -> None:
    voxels = np.random.default_rng(0).normal(0, 50, (40, 5, 7)).astype(dtype)
    path = tmp_path / f"a.{ending}"
    for compressed in (True, False):
        sitk.WriteImage(image_of(voxels), str(path), useCompression=compressed)
        stored, seen = read_image(path), sitk.ReadImage(str(path))
        assert stored.values.dtype == voxels.dtype
        assert np.array_equal(stored.values, sitk.GetArrayFromImage(seen))
        grid = stored.grid
        assert (grid.size, grid.spacing, grid.origin, grid.direction) == (
            seen.GetSize(),
            seen.GetSpacing(),
            seen.GetOrigin(),
            seen.GetDirection(),
        )
        oriented = sitk.GetArrayFromImage(sitk.DICOMOrient(seen, "LPS"))
        assert np.array_equal(read_volume(path).voxels, np.rint(oriented.astype(float)).clip(-32768, 32767))
    # the other byte order, which SimpleITK reads but does not write
    content = (
        path.read_bytes().replace(b"endian: little", b"endian: big").replace(b"OrderMSB = False", b"OrderMSB = True ")
    )
    head, data = content[: -voxels.nbytes], np.frombuffer(content[-voxels.nbytes :], voxels.dtype)
    path.write_bytes(head + data.byteswap().tobytes())
    assert np.array_equal(read_image(path).values, voxels)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), voxels)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("compressed", [True, False])
def test_damage_is_found_also_where_itk_is_silent(tmp_path: Path, ending: str, compressed: bool) -> None:
    path = tmp_path / f"a.{ending}"
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 30, 40)).astype(np.int16)
    sitk.WriteImage(image_of(noise), str(path), useCompression=compressed)
    whole = path.read_bytes()
    assert np.array_equal(read_image(path).values, noise)
    damages = {
        0: "empty",
        3: "first line|no end",
        50: "no end",
        len(whole) // 2: "truncated",
        len(whole) - 1: "truncated",
    }
    for kept, words in damages.items():
        path.write_bytes(whole[:kept])
        with pytest.raises(InputError, match=words) as caught:
            read_volume(path)
        one_line(caught)
    if compressed:
        for place in (len(whole) - 2000, len(whole) // 2, len(whole) - 3):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
            with pytest.raises(InputError, match=r"damaged|truncated") as caught:
                read_volume(path)
            one_line(caught)


def altered(path: Path, *changes: tuple[bytes, bytes]) -> Path:
    """Write a small sound file, not compressed, with parts of its header replaced."""
    image = sitk.GetImageFromArray(np.ones((3, 4, 5), np.int16))
    sitk.WriteImage(image, str(path), useCompression=False)
    content = path.read_bytes()
    for old, new in changes:
        assert content.count(old) == 1, content
        content = content.replace(old, new)
    path.write_bytes(content)
    return path


NRRD = {
    "terabytes": ([(b"sizes: 5 4 3", b"sizes: 99999 99999 9999")], "at most 16 GiB"),
    "gigabytes": ([(b"sizes: 5 4 3", b"sizes: 2000 2000 1000")], "truncated or its header is wrong"),
    "zero": ([(b"sizes: 5 4 3", b"sizes: 0 4 3")], "claims 0 x 4 x 3 voxels"),
    "negative": ([(b"sizes: 5 4 3", b"sizes: -5 4 3")], "claims -5 x 4 x 3 voxels"),
    "no number": ([(b"sizes: 5 4 3", b"sizes: five 4 3")], "no size"),
    "two sizes": ([(b"sizes: 5 4 3", b"sizes: 5 4 3\nsizes: 4 5 3")], "two ways|cannot be used"),
    "flat": ([(b"sizes: 5 4 3", b"sizes: 60"), (b"dimension: 3", b"dimension: 1")], "holds 60 of"),
    "vectors": ([(b"kinds: domain", b"kinds: vector")], "cannot be used"),
    "block": ([(b"type: short", b"type: block")], "holds 5 x 4 x 3 of type 'block'"),
    "detached": ([(b"encoding: raw", b"encoding: raw\ndata file: a.raw")], "another file"),
    "text": ([(b"encoding: raw", b"encoding: ascii")], "encoding 'ascii'; expected raw or gzip"),
    "skips": ([(b"encoding: raw", b"encoding: raw\nbyte skip: 4")], "skips lines or bytes"),
    "no order": ([(b"endian: little\n", b"")], "no byte order"),
    "NaN": ([(b"(1,0,0)", b"(nan,0,0)")], "is not a geometry"),
    "none": ([(b"(1,0,0)", b"none")], "is not a geometry"),
    "infinite": ([(b"origin: (0,", b"origin: (inf,")], "is not a geometry"),
    "no length": ([(b"(1,0,0)", b"(0,0,0)")], "spacing is 0 x 1 x 1 mm"),
    "sheared": ([(b"(1,0,0)", b"(1,0.5,0)")], "sheared"),
    "terminal": ([(b"encoding: raw", b"encoding: \x1b[31m" + b"x" * 5000)], r"encoding '\\x1b\[31mx"),
}
MHA = {
    "terabytes": ([(b"DimSize = 5 4 3", b"DimSize = 99999 99999 9999")], "at most 16 GiB"),
    "gigabytes": ([(b"DimSize = 5 4 3", b"DimSize = 2000 2000 1000")], "truncated or its header is wrong"),
    "zero": ([(b"DimSize = 5 4 3", b"DimSize = 0 4 3")], "claims 0 x 4 x 3 voxels"),
    "negative": ([(b"DimSize = 5 4 3", b"DimSize = -5 4 3")], "claims -5 x 4 x 3 voxels"),
    "no size": ([(b"DimSize = 5 4 3\n", b"")], "no size"),
    "four": ([(b"DimSize = 5 4 3", b"DimSize = 5 4 3 1")], "holds 5 x 4 x 3 x 1 of"),
    "type": ([(b"MET_SHORT", b"MET_LONG")], "of elementtype 'MET_LONG'"),
    "channels": ([(b"ElementType", b"ElementNumberOfChannels = 3\nElementType")], "holds 5 x 4 x 3 of"),
    "detached": ([(b"LOCAL", b"a.raw")], "another file"),
    "text": ([(b"BinaryData = True", b"BinaryData = False")], "binarydata 'False'"),
    "skips": ([(b"ElementType", b"HeaderSize = 4\nElementType")], "headersize '4'"),
    "slope": ([(b"ElementType", b"ElementToIntensityFunctionSlope = 2\nElementType")], "slope '2'"),
    "spacing 0": ([(b"ElementSpacing = 1 1 1", b"ElementSpacing = 0 1 1")], "spacing is 0 x 1 x 1 mm"),
    "spacing NaN": ([(b"ElementSpacing = 1 1 1", b"ElementSpacing = nan 1 1")], "is not a geometry"),
    "infinite": ([(b"Offset = 0 0 0", b"Offset = inf 0 0")], "is not a geometry"),
    "sheared": ([(b"TransformMatrix = 1 0 0", b"TransformMatrix = 1 0.5 0")], "sheared"),
    "scaled": ([(b"TransformMatrix = 1 0 0", b"TransformMatrix = 2 0 0")], "sheared or not of unit length"),
}


@pytest.mark.parametrize(("ending", "name"), [("nrrd", name) for name in NRRD] + [("mha", name) for name in MHA])
def test_headers_that_are_not_to_be_believed_are_refused(tmp_path: Path, ending: str, name: str, capfd) -> None:
    changes, words = {"nrrd": NRRD, "mha": MHA}[ending][name]
    assert read_labels(altered(tmp_path / f"sound.{ending}")).voxels.sum() == 60
    path = altered(tmp_path / f"hostile.{ending}", *changes)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=words) as caught:
            read_volume(path)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    text = one_line(caught)
    assert text.isprintable() and len(text) < 600
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_that_are_something_else_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    for content in (b"<html>not found</html>\n" * 40, bytes(5000), b"a" * 3_000_000, b"\n" * 3_000_000):
        path.write_bytes(content)
        with pytest.raises(InputError, match="by its first line"):
            read_volume(path)
    start = {"nrrd": b"NRRD0004\n", "mha": b"ObjectType = Image\n"}[ending]
    path.write_bytes(start + b"# \n" * 1_000_000)
    with pytest.raises(InputError, match="header has no end"):
        read_volume(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_nan_is_refused(tmp_path: Path, ending: str) -> None:
    voxels = np.zeros((40, 4, 5), np.float32)
    voxels[[0, 39], 1, 1] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / f"a.{ending}"))
    with pytest.raises(InputError, match="2 voxels are NaN or infinite"):
        read_volume(tmp_path / f"a.{ending}")


def test_the_bytes_of_a_stream_are_bounded_by_the_header(tmp_path: Path) -> None:
    big = np.zeros((200, 512, 512), np.int16)
    for ending, old, new in (("nrrd", b"512 512 200", b"512 512 100"), ("mha", b"512 512 200", b"512 512 100")):
        path = tmp_path / f"a.{ending}"
        sitk.WriteImage(sitk.GetImageFromArray(big), str(path), useCompression=True)
        path.write_bytes(path.read_bytes().replace(old, new))
        with pytest.raises(InputError, match="inflates to more than its header says"):
            read_labels(path)
