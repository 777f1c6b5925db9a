from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from data_prep.cli import progress, run_command
from data_prep.errors import InputError


def raising(error: BaseException):
    def body() -> int:
        raise error

    return body


@pytest.mark.parametrize("code", [0, 1])
def test_the_bodys_code_is_returned(code: int) -> None:
    assert run_command(lambda: code) == code


def test_bad_input_is_one_line_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(InputError("a.nii.gz: is empty"))) == 2
    assert capsys.readouterr() == ("", "error: a.nii.gz: is empty\n")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "that you may"),
        (errno.EROFS, "that you may"),
        (errno.ENOTDIR, "that you may"),
    ],
)
def test_a_full_or_forbidden_disk_is_one_line_and_2(
    number: int, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(raising(OSError(number, os.strerror(number), "/data/x"))) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and os.strerror(number) in text and "/data/x" in text and remedy in text


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(KeyboardInterrupt())) == 130
    assert "stopped by the user" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("ours"), FileNotFoundError(errno.ENOENT, "gone"), AssertionError()])
def test_our_own_defects_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_command(raising(error))


def test_progress_passes_on_every_item(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(iter("abc"), "letters", total=3)) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert captured.out == "" and "letters" in captured.err


@pytest.mark.parametrize(("lines", "fault", "code"), [(1, "", 141), (10000, "", 141), (1, "raise BrokenPipeError", 1)])
def test_output_that_nobody_reads_ends_it_without_a_word(lines: int, fault: str, code: int) -> None:
    body = f"print('line\\n' * {lines}); {fault or '0'}"
    program = f"def body():\n {body}\n return 0\nfrom data_prep.cli import run_command; exit(run_command(body))"
    reading, writing = os.pipe()
    if not fault:  # else somebody reads: it is another pipe that broke
        os.close(reading)
    done = subprocess.run([sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, "BrokenPipeError" in done.stderr) == (code, bool(fault))
