from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys

import pytest

from data_prep import cli
from data_prep.cli import command, progress, run_command
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


@pytest.mark.parametrize("number", [errno.ELOOP, errno.ENAMETOOLONG, errno.EPERM, errno.EIO, errno.EEXIST, errno.ENXIO])
def test_any_error_of_a_path_is_one_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(OSError(number, os.strerror(number), "/data/x\ny"))) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and os.strerror(number) in text and text.startswith("error: /data/x")


def test_our_own_defects_ask_for_a_report() -> None:
    with pytest.raises(KeyError) as caught:
        run_command(raising(KeyError("ours")))
    assert "report it" in caught.value.__notes__[0]


def test_output_that_cannot_hold_a_name_is_escaped() -> None:
    program = (
        "import os, sys, argparse\nfrom data_prep.cli import command\n"
        "@command(argparse.ArgumentParser)\ndef main(arguments):\n"
        " print('M\\xfcller \\u75c5', os.fsdecode(b'\\xe9'))\n return 0\nsys.exit(main([]))"
    )
    for encoding, expected in (("ascii", b"M\\xfcller \\u75c5 \\udce9\n"), ("cp1252", b"M\xfcller \\u75c5 \\udce9\n")):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment)
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")


@pytest.mark.parametrize(("terminal", "seconds"), [(True, 60), (False, 60), (False, 0)])
def test_progress_passes_on_every_item(
    terminal: bool, seconds: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # which other tests import
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setattr(cli, "LINE_SECONDS", seconds)
    assert list(progress(iter("abc"), "letters", total=3)) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert captured.out == ""
    if terminal:
        assert "letters: 100%" in captured.err and "3/3" in captured.err
    else:  # a line of the clock, from the second item on, when its time has come
        assert captured.err.count("letters: ") == (2 if seconds == 0 else 0)


@pytest.mark.parametrize(("lines", "fault", "code"), [(1, "", 141), (10000, "", 141), (1, "raise BrokenPipeError", 1)])
def test_output_that_nobody_reads_ends_it_without_a_word(lines: int, fault: str, code: int) -> None:
    body = f"print('line\\n' * {lines}); {fault or '0'}"
    program = f"def body():\n {body}\n return 0\nfrom data_prep.cli import run_command; exit(run_command(body))"
    reading, writing = os.pipe()
    if not fault:  # else somebody reads: it is another pipe that broke
        os.close(reading)
    done = subprocess.run([sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, "BrokenPipeError" in done.stderr) == (code, bool(fault))


def test_nothing_foreign_reaches_a_terminal_unescaped(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b]0;title\x07\x9b31m\u202egnp\udcfc\x00\rerror: all is well"

    @command(lambda: argparse.ArgumentParser())
    def main(_: argparse.Namespace) -> int:
        print("M\u00fcller", hostile)
        print("note:", hostile, file=sys.stderr)
        for _ in progress(range(2), "work \x1b[2J"):
            pass
        raise InputError(hostile, "a\x1bb.nii.gz")

    stdout = sys.stdout
    assert main([]) == 2 and sys.stdout is stdout
    out, err = capsys.readouterr()
    shown = r"\x1b]0;title\x07\x9b31m\u202egnp\udcfc\x00\rerror: all is well"
    assert out == f"M\u00fcller {shown}\n" and f"note: {shown}\n" in err
    assert err.replace("\rwork", "").replace("\n", "").isprintable()
    assert err.endswith("error: a\\x1bb.nii.gz: " + shown.replace("\\r", " ") + "\n")
