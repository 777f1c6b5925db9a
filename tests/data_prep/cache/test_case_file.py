from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_prep.cache.case_file import is_whole, read_facts, write_case
from data_prep.cache.packed_slices import find_slices
from data_prep.errors import InputError

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


SECRET = b"not yours" * 1000


def external_storage(file: h5py.File, secret: Path) -> None:
    del file["image"]
    file.create_dataset("image", (3, 16, 16), "<i2", external=[(str(secret), 0, 3 * 16 * 16 * 2)])


def virtual(file: h5py.File, secret: Path) -> None:
    del file["image"]
    layout = h5py.VirtualLayout((3, 16, 16), "<i2")
    layout[...] = h5py.VirtualSource(str(secret), "image", (3, 16, 16))
    file.create_virtual_dataset("image", layout)


def replaced(name: str, value: object):
    def change(file: h5py.File, secret: Path) -> None:
        del file[name]
        file[name] = value

    return change


def huge(file: h5py.File, secret: Path) -> None:
    del file["image"]
    file.create_dataset("image", (10**4, 10**4, 10**4), "<i2", chunks=(1, 64, 64))


HOSTILE = {
    "external storage": external_storage,
    "virtual": virtual,
    "external link": replaced("image", h5py.ExternalLink("secret.h5", "image")),
    "soft link": replaced("image", h5py.SoftLink("/label")),
    "1e12 voxels": huge,
    "a group": lambda file, secret: (file.__delitem__("label"), file.create_group("label")),
    "another type": replaced("label", np.zeros((3, 16, 16), np.float64)),
    "another shape": replaced("label", np.zeros((3, 16, 17), np.uint8)),
    "more": lambda file, secret: file.create_dataset("extra", data=[1]),
}


@pytest.mark.parametrize("way", HOSTILE)
def test_only_the_files_own_datasets_are_read(tmp_path: Path, way: str) -> None:
    path, secret = tmp_path / "a.h5", tmp_path / "secret"
    secret.write_bytes(SECRET)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["image"] = slices()[0]
    write_case(path, *slices(), FACTS)
    with h5py.File(path, "r+") as file:
        HOSTILE[way](file, secret)
    assert not is_whole(path) and read_facts(path) is None
    with pytest.raises(InputError, match="the case cannot be read") as caught:
        find_slices(path)
    assert "\n" not in str(caught.value) and "build the cache again" in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.h5")
    assert not is_whole(tmp_path / "a.h5") and read_facts(tmp_path / "a.h5") is None
    with pytest.raises(InputError, match="no regular file"):
        find_slices(tmp_path / "a.h5")


THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from data_prep.cache.case_file import is_whole, read_facts, write_case
from data_prep.cache.packed_slices import find_slices
folder = Path(sys.argv[1])

def work(number):
    rng = np.random.default_rng(number % 3)
    image = rng.integers(-1000, 1000, (20, 64, 64)).astype(np.int16)
    path = folder / f"{number}.h5"
    sha256 = write_case(path, image, (image > 900).astype(np.uint8), {"case": "a"})
    assert is_whole(path) and read_facts(path)["case"] == "a"
    assert (find_slices(path).read(7)[0] == image[7]).all()
    return sha256

with ThreadPoolExecutor(6) as pool:
    found = list(pool.map(work, range(150)))
assert [found[n] for n in range(150)] == [found[n % 3] for n in range(150)], "other bytes"
"""


@pytest.mark.slow
def test_threads_write_and_read_at_once(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", THREADS, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr[-1000:])
