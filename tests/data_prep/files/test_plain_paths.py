"""Paths for libraries that need UTF-8."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from data_prep.files.plain_paths import plain_folder, plain_path
from data_prep.files.quiet import quiet_stderr

LATIN1 = os.fsdecode(b"M\xfcller")


def test_a_link_stands_for_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    for folder, name in ((LATIN1, "a.dcm"), ("plain", LATIN1), ("M\u00fcller", "a.dcm")):
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("content")
        with plain_path(path) as plain:
            plain.encode()
            assert Path(plain).read_text() == "content"
        assert path.exists() and (plain == str(path)) == (LATIN1 not in (folder, name))


def test_a_temporary_folder_is_plain_whatever_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LATIN1).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / LATIN1))
    with plain_folder() as folder:
        str(folder).encode()
    assert not folder.exists()


def test_what_c_writes_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before\n")
    first, second = quiet_stderr(), quiet_stderr()  # as of two threads
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    os.write(2, b"inside 1.2.840\n")
    second.__exit__(None, None, None)
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nafter\n"
