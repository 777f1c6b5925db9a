"""Checkpoints: two are kept, and one that is damaged is never read."""

from __future__ import annotations

import numpy as np
import pytest
from support.killing import DAMAGES

from kidney_seg.run.checkpoints import KEPT, Checkpoints

PLACE = {"round": 1, "attempt": 0, "progress": {"steps": 7, "rows": [{"loss": 0.1}], "seconds": 0.25}}


def arrays(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {"weight0": rng.random((3, 4), np.float32), "optimizer0": np.array(number), "empty": np.zeros((0, 2))}


def assert_equal(found, number: int) -> None:
    place, made = found
    assert place == PLACE | {"number": number}
    assert set(made) == set(arrays(number))
    for name, value in arrays(number).items():
        np.testing.assert_array_equal(made[name], value)
        assert made[name].dtype == value.dtype


@pytest.fixture
def kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for number in range(4):
        checkpoints.save(PLACE | {"number": number}, arrays(number))
    return checkpoints


def test_the_last_two_are_kept_and_the_newest_is_read(kept):
    assert len(list(kept.folder.iterdir())) == KEPT == 2
    assert_equal(kept.newest(pytest.fail), 3)
    kept.clear()
    assert kept.newest(pytest.fail) is None and list(kept.folder.iterdir()) == []


def test_none_where_nothing_was_saved(tmp_path):
    assert Checkpoints(tmp_path / "absent").newest(pytest.fail) is None


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_of_any_kind_falls_back_to_the_one_before(kept, kind):
    before, last = sorted(kept.folder.iterdir())
    last.write_bytes(DAMAGES[kind](last.read_bytes()))
    said = []
    assert_equal(kept.newest(said.append), 2)
    assert len(said) == 1 and str(last) in said[0] and "\n" not in said[0]
    before.write_bytes(DAMAGES[kind](before.read_bytes()))
    assert kept.newest(said.append) is None
    assert len(said) == 3


def test_every_flipped_bit_shows(kept):
    before, last = sorted(kept.folder.iterdir())
    content = last.read_bytes()
    before.unlink()
    for place in np.random.default_rng(0).choice(len(content), 60, replace=False):
        last.write_bytes(content[:place] + bytes([content[place] ^ (1 << (place % 8))]) + content[place + 1 :])
        assert kept.newest(lambda line: None) is None
    last.write_bytes(content)
    assert_equal(kept.newest(pytest.fail), 3)


def test_numbers_go_on_after_damage(kept):
    last = sorted(kept.folder.iterdir())[-1]
    last.write_bytes(b"")
    kept.save(PLACE | {"number": 9}, arrays(9))
    assert_equal(kept.newest(pytest.fail), 9)
