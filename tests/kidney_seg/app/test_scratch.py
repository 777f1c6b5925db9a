"""Temporary folders: gone at the end, after a kill at the next start, and never those of a page that runs."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest

from kidney_seg.app.scratch import PREFIX, remove_abandoned, scratch_folder

CODE = """
import sys, time
from kidney_seg.app.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "scan-1").mkdir()
    (folder / "scan-1" / "voxels.bin").write_bytes(b"1234")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_it_is_private_and_gone_at_the_end(temporary):
    with scratch_folder() as folder:
        assert folder.parent == temporary and folder.name.startswith(PREFIX)
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "scan-1").mkdir()
    assert list(temporary.iterdir()) == []


def test_it_is_gone_after_an_error(temporary):
    with pytest.raises(KeyError), scratch_folder():
        raise KeyError
    assert list(temporary.iterdir()) == []


def test_one_that_runs_stays_and_one_that_was_killed_goes(temporary):
    process = subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE, text=True)
    try:
        folder = temporary / process.stdout.readline().strip().rpartition("/")[2]
        remove_abandoned()
        assert (folder / "scan-1" / "voxels.bin").exists()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert folder.exists()
    with scratch_folder() as own:
        assert list(temporary.iterdir()) == [own]


def test_what_is_not_ours_stays(temporary):
    (temporary / f"{PREFIX}notes").mkdir()  # no lock in it
    target = temporary / "important"
    target.mkdir()
    (target / ".lock").touch()
    (temporary / f"{PREFIX}link").symlink_to(target)
    remove_abandoned()
    assert {path.name for path in temporary.iterdir()} == {f"{PREFIX}notes", "important", f"{PREFIX}link"}
