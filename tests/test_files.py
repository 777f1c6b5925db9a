from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.command import InputError
from data_prep.files import read_json, replacing, sha256_of, write_json


def test_a_file_appears_whole_and_keeps_its_suffixes(tmp_path: Path) -> None:
    target = tmp_path / "new" / "labels.nii.gz"
    with replacing(target) as temporary:
        assert temporary.parent == target.parent and temporary.name.endswith(".nii.gz")
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), replacing(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_checksum_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # the example of FIPS 180-2
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_json_goes_there_and_back_and_nan_is_refused(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None], "name": "Zürich"}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json", "thing") == content
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert read_json(tmp_path / "a.json", "thing") == content


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00"])
def test_broken_and_missing_json_is_one_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="no thing here"):
        read_json(tmp_path / "absent.json", "thing")
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match="the thing cannot be read") as caught:
        read_json(tmp_path / "a.json", "thing")
    assert "\n" not in str(caught.value)
