from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_prep.cache import case_file as cache
from data_prep.cache.case_file import count_pixels, read_facts, write_case
from data_prep.cache.manifest import CacheEntry, Manifest, open_slices, read_case, read_manifest, verify, write_manifest
from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.geometry.network_grid import GridSettings
from data_prep.version import code_version

SETTINGS = GridSettings(16)


def slices(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.integers(-1000, 1000, (3, 16, 16)).astype(np.int16)
    return image, rng.integers(0, 3, (3, 16, 16)).astype(np.uint8)


def entry(name: str, sha256: str, label: np.ndarray | None) -> CacheEntry:
    labelled = label is not None
    return CacheEntry(
        case=name,
        patient=name[:10],
        file=f"{name}.h5",
        sha256=sha256,
        slices=3,
        labelled=labelled,
        pixel_mm=1.5,
        spacing_mm=(3.0, 0.8, 0.8),
        shape_zyx=(3, 30, 30),
        image_path=f"/{name}/imaging.nii.gz",
        label_path=f"/{name}/segmentation.nii.gz" if labelled else None,
        image_sha256="a" * 64,
        label_sha256="b" * 64 if labelled else None,
        kidney_ml=150.0 if labelled else None,
        tumor_ml=30.0 if labelled else None,
        pixels=tuple(map(tuple, count_pixels(label).tolist())) if labelled else None,
    )


@pytest.fixture
def made(tmp_path: Path) -> Manifest:
    """A cache of a labelled case and an unlabelled one."""
    image, label = slices()
    entries = [
        entry(name, write_case(tmp_path / f"{name}.h5", image, labels, {"case": name}), labels)
        for name, labels in (("case_00001", None), ("case_00000", label))
    ]
    return write_manifest(tmp_path, SETTINGS, entries)


def test_what_is_written_is_read(made: Manifest) -> None:
    image, label = slices()
    assert [e.case for e in made.entries] == ["case_00000", "case_00001"]  # sorted
    assert made == read_manifest(str(made.root))
    assert made.settings == SETTINGS
    assert made.sha256 == sha256_of(made.root / "manifest.json")
    read_image, read_label = read_case(made, made.entries[0])
    assert np.array_equal(read_image, image) and read_image.dtype == np.int16
    assert np.array_equal(read_label, label) and read_label.dtype == np.uint8
    assert read_case(made, made.entries[1])[1] is None
    for one in made.entries:
        verify(made, one)


def test_the_file_is_as_documented(made: Manifest) -> None:
    with h5py.File(made.root / "case_00000.h5") as file:
        for name in ("image", "label"):
            assert file[name].chunks == (1, 16, 16)
            assert (file[name].compression, file[name].compression_opts, file[name].shuffle) == ("gzip", 1, True)
        assert file["pixels"].dtype == np.int64
        assert file["pixels"][...].sum(axis=1).tolist() == [256, 256, 256]
        assert file.attrs["schema"] == cache.SCHEMA and file.attrs["code_version"] == code_version()
    with h5py.File(made.root / "case_00001.h5") as file:
        assert set(file) == {"image"}


def test_pixels_are_counted_by_slice_and_class() -> None:
    label = np.zeros((2, 4, 4), np.uint8)
    label[0, 0, :3] = 1
    label[0, 1, 0] = 2
    assert count_pixels(label).tolist() == [[12, 3, 1], [16, 0, 0]]
    assert count_pixels(label).dtype == np.int64


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    image, label = slices()
    first = write_case(tmp_path / "a.h5", image, label, {"case": "x", "label_path": None})
    second = write_case(tmp_path / "b.h5", image, label, {"case": "x", "label_path": None})
    assert first == second == sha256_of(tmp_path / "a.h5")
    assert read_facts(tmp_path / "a.h5")["case"] == "x"
    assert "label_path" not in read_facts(tmp_path / "a.h5")


def test_data_sha256_depends_on_the_data_alone(made: Manifest) -> None:
    one, two = made.entries
    assert re.fullmatch("[0-9a-f]{64}", made.data_sha256)
    assert replace(made, entries=(two, one)).data_sha256 == made.data_sha256
    assert replace(made, entries=(replace(one, sha256="c" * 64), two)).data_sha256 == made.data_sha256
    for change in ({"image_sha256": "d" * 64}, {"label_sha256": None}, {"patient": "x"}):
        assert replace(made, entries=(replace(one, **change), two)).data_sha256 != made.data_sha256


def change_manifest(root: Path, **changes) -> None:
    content = json.loads((root / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps({**content, **changes}))


def test_caches_that_cannot_be_read_are_refused(made: Manifest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such cache folder"):
        read_manifest(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no cache manifest"):
        read_manifest(tmp_path / "empty")
    change_manifest(made.root, cases=[{"case": "x"}])
    with pytest.raises(InputError, match="build the cache again"):
        read_manifest(made.root)
    change_manifest(made.root, schema=1)
    with pytest.raises(InputError, match=r"schema 1, this version reads 3; run python -m data_prep\.build"):
        read_manifest(made.root)
    (made.root / "manifest.json").write_text("[1]")
    with pytest.raises(InputError, match="schema None"):
        read_manifest(made.root)


def test_a_manifest_cannot_point_out_of_its_folder(made: Manifest) -> None:
    cases = json.loads((made.root / "manifest.json").read_text())["cases"]
    change_manifest(made.root, cases=[{**cases[0], "file": "../secret.h5"}])
    with pytest.raises(InputError, match="not inside the cache"):
        read_manifest(made.root)


def test_case_files_that_changed_are_refused(made: Manifest) -> None:
    one = made.entries[0]
    path = made.root / one.file
    whole = path.read_bytes()

    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        read_case(made, one)
    with pytest.raises(InputError, match="checksum"):
        verify(made, one)
    assert read_facts(path) is None

    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        file.attrs["schema"] = 7
    for refused in (lambda: read_case(made, one), lambda: read_facts(path)):
        with pytest.raises(InputError, match="schema 7"):
            refused()

    image, label = slices()
    write_case(path, image[:2], label[:2], {})
    with pytest.raises(InputError, match=r"holds \(2, 16, 16\), the manifest \(3, 16, 16\)"):
        read_case(made, one)

    path.unlink()
    for refused in (read_case, verify):
        with pytest.raises(InputError, match="is in the manifest but does not exist"):
            refused(made, one)
    assert read_facts(path) is None


def test_one_slice_is_read_alone(made: Manifest) -> None:
    image, label = slices()
    opened = open_slices(made, made.entries[0])
    for index in range(len(image)):
        read_image, read_label = opened.read(index)
        assert (read_image.dtype, read_label.dtype) == (np.int16, np.uint8)
        assert np.array_equal(read_image, image[index]) and np.array_equal(read_label, label[index])
    path = made.root / "case_00000.h5"
    first, count = opened.places["image"][2]
    content = bytearray(path.read_bytes())
    content[first + count // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="slice 2 cannot be read"):
        opened.read(2)
    assert np.array_equal(opened.read(1)[0], image[1])
    path.unlink()
    with pytest.raises(InputError, match="slice 1 cannot be read"):
        opened.read(1)
    with pytest.raises(InputError, match="does not exist"):
        open_slices(made, made.entries[0])


def test_slices_packed_by_hdf5_itself_are_read_and_others_refused(made: Manifest) -> None:
    image, label = slices()
    path = made.root / "case_00000.h5"
    packed = {"chunks": (1, *image.shape[1:]), "compression": "gzip", "shuffle": True}
    for change, words in (
        ({}, ""),
        ({"shuffle": False}, "image has other chunks or filters"),
        ({"compression": None}, "image has other chunks or filters"),
        ({"chunks": image.shape}, "image has other chunks or filters"),
        ({"fletcher32": True}, "image has other chunks or filters"),
    ):
        with h5py.File(path, "w") as file:
            file.create_dataset("image", data=image, **(packed | change))
            file.create_dataset("label", data=label, **packed)
        if not words:
            opened = open_slices(made, made.entries[0])
            assert all(np.array_equal(opened.read(k), (image[k], label[k])) for k in range(len(image)))
            continue
        with pytest.raises(InputError, match=words):
            open_slices(made, made.entries[0])
    write_case(path, image[:2], label[:2], {})
    with pytest.raises(InputError, match="not those of the manifest"):
        open_slices(made, made.entries[0])
    write_case(path, image, None, {})
    with pytest.raises(InputError, match="cannot be read"):
        open_slices(made, made.entries[0])


def test_altered_content_is_noticed_when_read(made: Manifest) -> None:
    with h5py.File(made.root / "case_00000.h5", "r+") as file:
        file["image"][0, 0, 0] = 1234
    with pytest.raises(InputError, match="checksum"):
        read_case(made, made.entries[0])


def test_the_paths_of_the_sources_are_in_a_file_of_their_own(made: Manifest) -> None:
    one, two = made.entries
    assert (one.image_path, two.label_path) == ("/case_00000/imaging.nii.gz", None)
    assert "imaging" not in (made.root / "manifest.json").read_text()
    assert json.loads((made.root / "sources.json").read_text())["cases"]["case_00000"] == {
        "image_path": "/case_00000/imaging.nii.gz",
        "label_path": "/case_00000/segmentation.nii.gz",
    }
    (made.root / "sources.json").unlink()
    without = read_manifest(made.root)
    assert without.entries[0] == replace(one, image_path=None, label_path=None)
    assert (without.sha256, without.data_sha256) == (made.sha256, made.data_sha256)
    for text in ("[]", "{}", '{"cases": {"case_00000": 1}}', "{"):
        (made.root / "sources.json").write_text(text)
        with pytest.raises(InputError, match=r"sources\.json: the list of source files"):
            read_manifest(made.root)
