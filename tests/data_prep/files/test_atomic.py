from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.errors import InputError
from data_prep.files.atomic import remove_leftovers, replacing
from data_prep.files.checksums import checked_sha256, sha256_of, sha256_of_source
from data_prep.files.json_files import read_json, write_json


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


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, replacing(tmp_path / "a.h5"):
        raise OSError(errno.ENOSPC, "No space left on device")  # as write() raises it, without a name
    assert caught.value.filename == str(tmp_path / "a.h5")


LEAVE = """
import os, sys
from data_prep.files.atomic import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_leftovers_of_killed_processes_go_and_those_of_running_ones_stay(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LEAVE, str(tmp_path / "case.h5")], check=False)
    (killed,) = tmp_path.iterdir()
    assert killed.name.startswith(".tmp-") and killed.name.endswith("-case.h5")
    pid, host = killed.name.split("-")[1:3]
    running = tmp_path / f".tmp-{os.getppid()}-{host}-case.h5"
    elsewhere = tmp_path / f".tmp-{pid}-{'0' * 8}-case.h5"
    abandoned = tmp_path / f".tmp-{pid}-{'1' * 8}-case.h5"
    foreign = tmp_path / ".tmp-mine"
    for path in (running, elsewhere, abandoned, foreign, tmp_path / "case.h5"):
        path.touch()
    os.utime(abandoned, (0, time.time() - 2 * 24 * 60 * 60))
    assert remove_leftovers(tmp_path) == 2
    assert sorted(tmp_path.iterdir()) == sorted([running, elsewhere, foreign, tmp_path / "case.h5"])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system shows no states of processes")
def test_leftovers_of_a_process_that_ended_and_that_nobody_waited_for_go(tmp_path: Path) -> None:
    # An orphan stays like this for ever where the first process waits for none, as in many containers.
    with subprocess.Popen([sys.executable, "-c", LEAVE, str(tmp_path / "case.h5")]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        os.kill(child.pid, 0)  # its number is still in the table of processes
        assert remove_leftovers(tmp_path) == 1
        assert list(tmp_path.iterdir()) == []


def test_a_folders_checksum_is_of_its_files_contents_alone(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "1.dcm").write_bytes(b"one")
    (tmp_path / "a" / "deep" / "2.dcm").write_bytes(b"two")
    lines = sorted(hashlib.sha256(content).hexdigest() + "\n" for content in (b"one", b"two"))
    assert sha256_of_source(tmp_path / "a") == hashlib.sha256("".join(lines).encode()).hexdigest()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "z").write_bytes(b"two")
    (tmp_path / "b" / "y").write_bytes(b"one")
    (tmp_path / "b" / "loop").symlink_to(tmp_path / "b")
    assert sha256_of_source(tmp_path / "b") == sha256_of_source(tmp_path / "a")
    (tmp_path / "b" / "y").write_bytes(b"One")
    assert sha256_of_source(tmp_path / "b") != sha256_of_source(tmp_path / "a")
    assert sha256_of_source(tmp_path / "b" / "z") == sha256_of(tmp_path / "b" / "z")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(InputError, match="cannot be read"):
            checked_sha256(path)


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
