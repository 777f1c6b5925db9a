"""A run with skipped tests says in one line what they leave untried."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import conftest

TESTS = """
import pytest

@pytest.mark.parametrize("n", range(3))
def test_real(shared_data, n): pass

@pytest.mark.skip("too hot")
def test_weather(): pass

def test_here(): pass
"""


def test_a_checkout_without_real_data_says_what_is_untried(tmp_path: Path) -> None:
    folder = tmp_path / "checkout" / "tests"
    folder.mkdir(parents=True)
    shutil.copy(conftest.__file__, folder)
    (folder / "test_it.py").write_text(TESTS)

    def said(*arguments: str) -> list[str]:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        return [line for line in done.stdout.splitlines() if "untried" in line]

    real = conftest.UNTRIED[str(conftest.SHARED)]
    assert said("-n", "2") == [f"4 skipped, so untried: {real} (3); Skipped: too hot (1)"]
    assert said("-k", "here") == []
