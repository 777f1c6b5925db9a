"""The Makefile's environment: made, made anew, and never in the place of somebody else's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@" --without-pip\n')
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def make(project: Path, target: str) -> subprocess.CompletedProcess[str]:
    words = ["make", target, "PIP=true", "PYTHON=./python"]  # nothing is installed
    return subprocess.run(words, cwd=project, capture_output=True, text=True)


def test_a_foreign_environment_stays(project: Path) -> None:
    (project / ".venv").mkdir()
    (project / ".venv" / "mine").touch()
    refused = make(project, ".venv/packages")
    assert refused.returncode and ".venv: not made by this Makefile" in refused.stderr
    assert make(project, "clean").returncode == 0
    assert [path.name for path in (project / ".venv").iterdir()] == ["mine"]


def test_its_own_is_made_anew_and_removed(project: Path) -> None:
    for _ in range(2):
        made = make(project, ".venv/packages")
        assert made.returncode == 0, made.stderr
        assert not (project / ".venv" / "old").exists() and (project / ".venv" / "packages").exists()
        (project / ".venv" / "old").touch()
        (project / "runs").mkdir(exist_ok=True)
        (project / ".venv" / "packages").unlink()  # as newer requirements would have it
    assert make(project, "clean").returncode == 0
    assert not (project / ".venv").exists() and (project / "runs").exists()
