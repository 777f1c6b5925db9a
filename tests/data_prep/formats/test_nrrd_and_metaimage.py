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
        assert grid.size == seen.GetSize()
        for name, get in (("spacing", "GetSpacing"), ("origin", "GetOrigin"), ("direction", "GetDirection")):
            assert getattr(grid, name) == pytest.approx(getattr(seen, get)(), abs=1e-12)
        assert stored.notes == ()
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
    "two sizes": ([(b"sizes: 5 4 3", b"sizes: 5 4 3\nsizes: 4 5 3")], "two ways: sizes '5 4 3' and '4 5 3'"),
    "flat": ([(b"sizes: 5 4 3", b"sizes: 60"), (b"dimension: 3", b"dimension: 1")], "is not a geometry"),
    "vectors": ([(b"kinds: domain", b"kinds: vector")], "holds 5 x 4 x 3 of"),
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
    "dimension": ([(b"dimension: 3", b"dimension: 4")], "two ways: dimension '4' with 3 numbers in sizes"),
    "long byte order": ([(b"endian: little", b"endian: " + b"l" * 70_000)], "no byte order"),
    "long kind": ([(b"kinds: domain", b"kinds: " + b"d" * 70_000)], "holds 5 x 4 x 3 of"),
    "long origin": ([(b"origin: (0,", b"origin: (" + b"0" * 70_000 + b"x,")], "is not a geometry"),
    "unit": ([(b"encoding: raw", b'space units: "inch" "inch" "inch"\nencoding: raw')], "unit of length is 'inch'"),
    "two vectors": ([(b"(1,0,0) ", b"")], "is not a geometry"),
    "terminal": ([(b"encoding: raw", b"encoding: \x1b[31m" + b"x" * 5000)], r"encoding '\\x1b\[31mx"),
}
MHA = {
    "terabytes": ([(b"DimSize = 5 4 3", b"DimSize = 99999 99999 9999")], "at most 16 GiB"),
    "gigabytes": ([(b"DimSize = 5 4 3", b"DimSize = 2000 2000 1000")], "truncated or its header is wrong"),
    "zero": ([(b"DimSize = 5 4 3", b"DimSize = 0 4 3")], "claims 0 x 4 x 3 voxels"),
    "negative": ([(b"DimSize = 5 4 3", b"DimSize = -5 4 3")], "claims -5 x 4 x 3 voxels"),
    "no size": ([(b"DimSize = 5 4 3\n", b"")], "no size"),
    "four": ([(b"DimSize = 5 4 3", b"DimSize = 5 4 3 2"), (b"NDims = 3", b"NDims = 4")], "holds 5 x 4 x 3 x 2 of"),
    "axes": ([(b"NDims = 3", b"NDims = 999999")], "two ways: ndims '999999' with 3 numbers in dimsize"),
    "negative axes": ([(b"NDims = 3", b"NDims = -1")], "two ways"),
    "two origins": ([(b"Offset =", b"Position = 1 2 3\nOffset =")], "two ways: offset and position differ"),
    "short": ([(b"Offset = 0 0 0", b"Offset = 0 0")], "offset '0 0' is not a geometry"),
    "unit": ([(b"Offset = 0 0 0", b"DistanceUnits = inch\nOffset = 0 0 0")], "unit of length is 'inch'"),
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


def nrrd(path: Path, fields: str, size: str = "5 4 3", voxels: np.ndarray | None = None) -> Path:
    voxels = np.arange(60, dtype=np.uint8) % 4 if voxels is None else voxels
    count = len(size.split())
    start = f"NRRD0004\ntype: uchar\ndimension: {count}\nsizes: {size}\nencoding: raw\n{fields}\n"
    path.write_bytes(start.encode() + voxels.tobytes())
    return path


VECTORS = "space directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (10,20,30)\n"


@pytest.mark.parametrize(
    ("space", "origin", "orientation"),
    [("left-posterior-superior", (10, 20, 30), "LPS"), ("RAS", (-10, -20, 30), "RAS"), ("LAS", (10, -20, 30), "LAS")],
)
def test_spaces_of_nrrd_as_simpleitk_takes_them(tmp_path, space, origin, orientation) -> None:
    path = nrrd(tmp_path / "a.nrrd", f"space: {space}\n{VECTORS}")
    volume = read_labels(path)
    seen = sitk.ReadImage(str(path))
    assert (volume.source.origin, volume.source.orientation, volume.notes) == (origin, orientation, ())
    if space != "LAS":  # ITK 5.4 turns another axis of it
        assert (seen.GetOrigin(), seen.GetDirection()) == (volume.source.origin, volume.source.direction)
        assert np.array_equal(volume.voxels, sitk.GetArrayFromImage(sitk.DICOMOrient(seen, "LPS")))


@pytest.mark.parametrize(
    ("ending", "fields", "spacing", "notes"),
    [
        ("nrrd", "", (1, 1, 1), ["no_orientation", "reader_note"]),
        ("nrrd", "spacings: 2 3 4\n", (2, 3, 4), ["no_orientation"]),
        ("nrrd", f"space dimension: 3\n{VECTORS}", (2, 3, 4), ["no_orientation"]),
        ("nrrd", f"space: scanner-xyz\n{VECTORS}", (2, 3, 4), ["no_orientation"]),
        ("nrrd", f'space: LPS\nspace units: "cm" "cm" "cm"\n{VECTORS}', (20, 30, 40), []),
        ("mha", "", (1, 1, 1), ["no_orientation", "reader_note"]),
        ("mha", "ElementSpacing = 2 3 4\n", (2, 3, 4), ["no_orientation"]),
        ("mha", "ElementSize = 2 3 4\nRotation = 1 0 0 0 1 0 0 0 1\nDistanceUnits = um\n", (0.002, 0.003, 0.004), []),
    ],
)
def test_a_geometry_that_the_header_lacks_is_noted_and_units_count(tmp_path, ending, fields, spacing, notes) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "nrrd":
        nrrd(path, fields)
    else:
        head = f"NDims = 3\nDimSize = 5 4 3\nElementType = MET_UCHAR\n{fields}ElementDataFile = LOCAL\n"
        path.write_bytes(head.encode() + bytes(60))
    volume = read_labels(path)
    assert volume.source.spacing == pytest.approx(spacing)
    assert [note.code for note in volume.notes] == notes


def test_an_axis_of_one_is_dropped_in_every_format(tmp_path: Path) -> None:
    voxels = (np.arange(60, dtype=np.uint8) % 4).reshape(3, 4, 5)
    four = sitk.JoinSeries([sitk.GetImageFromArray(voxels)])
    assert four.GetSize() == (5, 4, 3, 1)
    for ending in ("nii.gz", "nrrd", "mha"):
        sitk.WriteImage(four, str(tmp_path / f"a.{ending}"))
        stored = read_image(tmp_path / f"a.{ending}")
        assert stored.grid.size == (5, 4, 3) and np.array_equal(stored.values, voxels), ending
    first = "space: LPS\nspace directions: none (2,0,0) (0,3,0) (0,0,4)\nkinds: list domain domain domain\n"
    stored = read_image(nrrd(tmp_path / "b.nrrd", first, "1 5 4 3"))
    assert stored.grid.spacing == (2, 3, 4) and stored.values.shape == (3, 4, 5)
    with pytest.raises(InputError, match="holds 2 x 5 x 4 x 3 of"):
        read_image(nrrd(tmp_path / "b.nrrd", first, "2 5 4 3", np.zeros(120, np.uint8)))


def segments(*named: tuple[int, str, str]) -> str:
    lines = [
        f"Segment{n}_LabelValue:={value}\nSegment{n}_Name:={name}\nSegment{n}_Tags:=TerminologyEntry:list"
        f"~SCT^85756007^Tissue~SCT^{code}^x~^^~list~^^~^^|\n"
        for n, (value, name, code) in enumerate(named)
    ]
    return f"space: LPS\n{VECTORS}" + "".join(lines)


@pytest.mark.parametrize(
    ("named", "expected", "note"),
    [
        ([(1, "tumor", ""), (2, "kidney", "")], [0, 2, 1, 3], "1 is tumor, 2 is kidney"),
        ([(1, "kidney_right", ""), (2, "kidney_left", "")], [0, 1, 1, 3], "2 is kidney"),
        ([(1, "a", "108369006"), (2, "b", "64033007")], [0, 2, 1, 3], "1 is tumor, 2 is kidney"),
        ([(1, "Segment_1", ""), (2, "Segment_2", "85756007")], [0, 1, 2, 3], None),
        ([(1, "kidney", ""), (2, "tumor", ""), (3, "cyst", "")], [0, 1, 2, 3], None),
    ],
)
def test_names_of_segments_decide_not_their_numbers(tmp_path: Path, named, expected, note) -> None:
    path = nrrd(tmp_path / "a.seg.nrrd", segments(*named))
    volume = read_labels(path)
    assert np.array_equal(volume.voxels.ravel()[:4], expected)
    told = [] if note is None else [f"numbers of labels by the names of their segments: {note}"]
    if told and len(named) == 2:  # the voxels have a third number
        told.append("numbers of labels without a name, beside named ones, as usual: 3 is cyst")
    assert [str(one) for one in volume.notes] == told


def test_segments_that_are_none_of_ours_are_refused(tmp_path: Path) -> None:
    for name, code in (
        ("Liver tumor", "108369006"),
        ("Kidney stone", ""),
        ("suprarenal gland", ""),
        ("kidney", "4147007"),
    ):
        path = nrrd(tmp_path / "a.seg.nrrd", segments((1, name, code)))
        with pytest.raises(InputError, match=f"segment 1, '{name}', is none of kidney, tumor and cyst") as caught:
            read_labels(path)
        one_line(caught)
    layers = "space: LPS\nspace directions: none (2,0,0) (0,3,0) (0,0,4)\nkinds: list domain domain domain\n"
    with pytest.raises(InputError, match="overlapping segments in layers"):
        read_labels(nrrd(path, layers + "Segment0_LabelValue:=1\n", "2 5 4 3", np.zeros(120, np.uint8)))


def test_metaimage_without_spaces_around_its_signs(tmp_path: Path) -> None:
    voxels = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    path = tmp_path / "a.mha"
    sitk.WriteImage(image_of(voxels), str(path))
    content = path.read_bytes()
    path.write_bytes(content[: -voxels.nbytes].replace(b" = ", b"=") + content[-voxels.nbytes :])
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), voxels)
    assert np.array_equal(read_image(path).values, voxels)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("spacing", "origin"), [(1e-9, 0.0), (1e12, 0.0), (1e308, 0.0), (1.0, 1e300)])
def test_lengths_that_are_none_are_refused(tmp_path: Path, ending: str, spacing: float, origin: float) -> None:
    image = sitk.GetImageFromArray(np.zeros((4, 3, 2), np.int16))
    image.SetSpacing((1, 1, spacing))
    image.SetOrigin((0, origin, 0))
    sitk.WriteImage(image, str(path := tmp_path / f"a.{ending}"))
    with pytest.raises(
        InputError, match=r"expected that of a CT; correct|or huge; expected numbers|is inf mm|expected positive"
    ) as caught:
        read_image(path)
    assert one_line(caught)
