from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_prep.cache.case_file import is_whole, read_facts, write_case

FACTS = {"case": "case_00000", "spacing_mm": (3.0, 0.8, 0.8), "kidney_ml": 150.5, "label_sha256": None}


def slices(depth: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(-32768, 32767, (depth, 16, 16), endpoint=True).astype(np.int16)
    return image, rng.integers(0, 3, (depth, 16, 16)).astype(np.uint8)


@pytest.mark.parametrize("depth", [1, 3])
def test_hdf5_itself_reads_the_chunks(tmp_path: Path, depth: int) -> None:
    # they are packed past HDF5's filters; reading goes through these
    image, label = slices(depth)
    write_case(tmp_path / "a.h5", image[:, ::-1], label.transpose(0, 2, 1), FACTS)  # views, not contiguous
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["image"][...], image[:, ::-1]) and file["image"].dtype == np.dtype("<i2")
        assert np.array_equal(file["label"][...], label.transpose(0, 2, 1))
        assert file["image"].id.get_num_chunks() == depth


def test_the_hashes_are_those_of_the_format_page(tmp_path: Path) -> None:
    image, label = slices()
    write_case(tmp_path / "a.h5", image, label, FACTS)
    with h5py.File(tmp_path / "a.h5") as file:
        attributes = dict(file.attrs)
        assert attributes["slices_sha256"] == hashlib.sha256(image.tobytes()).hexdigest()
        plain = {k: np.asarray(v).tolist() for k, v in attributes.items() if k != "content_sha256"}
        text = json.dumps(plain, sort_keys=True).encode()
        expected = hashlib.sha256(text + label.tobytes() + file["pixels"][...].tobytes()).hexdigest()
        assert attributes["content_sha256"] == expected
    assert is_whole(tmp_path / "a.h5")


def test_any_change_of_content_is_found(tmp_path: Path) -> None:
    image, label = slices()
    path = tmp_path / "a.h5"

    def changed(change) -> bool:
        write_case(path, image, label, FACTS)
        with h5py.File(path, "r+") as file:
            change(file)
        return not is_whole(path)

    assert not changed(lambda file: None)
    assert changed(lambda file: file["image"].__setitem__((2, 15, 15), image[2, 15, 15] ^ 1))
    assert changed(lambda file: file["label"].__setitem__((0, 0, 0), 3))
    assert changed(lambda file: file["pixels"].__setitem__((0, 0), 1))
    assert changed(lambda file: file.attrs.__setitem__("case", "case_00001"))
    assert changed(lambda file: file.attrs.__delitem__("case"))
    assert changed(lambda file: file.attrs.__delitem__("content_sha256"))
    assert changed(lambda file: file.__delitem__("label"))


def test_a_damaged_file_is_never_a_crash_and_never_taken_for_other_content(tmp_path: Path) -> None:
    image, label = slices()
    path = tmp_path / "a.h5"
    write_case(path, image, label, FACTS)
    whole = path.read_bytes()
    draw = random.Random(0)
    found = 0
    for _ in range(300):
        content = bytearray(whole)
        content[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(content[: draw.choice((len(whole), draw.randrange(len(whole))))])
        read_facts_or_refuse(path)
        if is_whole(path):  # the bit belonged to nothing
            with h5py.File(path) as file:
                assert np.array_equal(file["image"][...], image) and np.array_equal(file["label"][...], label)
        else:
            found += 1
    assert found > 150


def read_facts_or_refuse(path: Path) -> None:
    from data_prep.errors import InputError

    try:
        read_facts(path)
    except InputError as error:
        assert "schema" in str(error)
