"""Where a command may write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_prep.errors import InputError
from data_prep.files.locks import locked
from data_prep.files.outputs import check_folder, check_outputs, has_keys, has_text


def code_of(*arguments, **options) -> str:
    with pytest.raises(InputError) as caught:
        check_outputs(*arguments, **options)
    assert "\n" not in str(caught.value)
    return caught.value.code


def test_an_input_is_never_written_over_by_whatever_name(tmp_path: Path) -> None:
    scan = tmp_path / "scan.nii.gz"
    scan.write_bytes(b"voxels")
    (tmp_path / "link").symlink_to(scan)
    os.link(scan, tmp_path / "same")
    for name in ("scan.nii.gz", "link", "same", "../" + tmp_path.name + "/scan.nii.gz"):
        assert code_of([tmp_path / name], [scan], lambda path: True) == "is_input"
    check_outputs([tmp_path / "new" / "labels.nii.gz"], [scan, tmp_path / "absent"])
    assert not (tmp_path / "new").exists()


def test_files_of_another_kind_are_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content, keys, texts, ours in (
        ('{"a": 1, "b": 2}', ("a",), (b"a", b"b"), True),
        ('{"a": 1}', ("a", "c"), (b"c",), False),
        ("[1]", ("a",), (b"a",), False),
        ("scan", ("a",), (b"x",), False),
    ):
        path.write_text(content)
        for kind in (has_keys(*keys), has_text(*texts)):
            if ours:
                check_outputs([path], ours=kind)
            else:
                assert code_of([path], ours=kind) == "foreign"
    assert code_of([path]) == "foreign"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("dead/a", "ENOTDIR"),
        ("loop/a", "ELOOP"),
        ("file/a", "ENOTDIR"),
        ("n" * 300, "ENAMETOOLONG"),
        ("n" * 250, "ENAMETOOLONG"),  # the temporary name is longer
        ("n" * 300 + "/a", "ENAMETOOLONG"),
        ("folder", "EISDIR"),
        ("dead", "foreign"),
    ],
)
def test_places_that_cannot_be_used(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "dead").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.iterdir())
    assert code_of([tmp_path / name]) == code
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_may_not_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="may not be written to"):
        check_folder(tmp_path / "new")


def test_a_lock_of_another_program_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("theirs")
    with locked(tmp_path, "wait"):
        pass
    assert (tmp_path / ".lock").read_text() == "theirs"
