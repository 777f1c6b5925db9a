"""A batch that is killed and run again: nothing is done twice, and its table and page are whole at any moment."""

from __future__ import annotations

import csv
import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.batches import made_in
from support.dicom_files import write_study
from support.helpers import save
from support.threshold_model import striped_hu, write_threshold_model

from data_prep.volume import read_labels
from kidney_seg.predict.__main__ import main
from kidney_seg.results.record import read_record

pytestmark = [pytest.mark.network, pytest.mark.slow]

PATIENCE_S = 300
SCANS = 10


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases in NIfTI files, and two DICOM studies."""
    root = tmp_path_factory.mktemp("scans") / "tree"
    (root / "nifti").mkdir(parents=True)
    for number in range(SCANS - 2):
        save(root / "nifti" / f"case{number}.nii.gz", striped_hu(24 + number, 128))
    for number in (1, 2):
        write_study(root / f"p{number}", striped_hu(8 * number, 64), number)
    return root


def rows_of(text: str) -> list[dict[str, str]]:
    """Return the rows of a table that must be whole."""
    assert text.endswith("\n")
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0][0] == "scan" and {len(row) for row in rows} == {len(rows[0])}
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def finished(out: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of the label files that have their record."""
    files = {path.with_name(path.name.replace(".json", ".nii.gz")) for path in out.glob("*.json") if read_record(path)}
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(files) if path.exists()}


def killed(words: list[str], out: Path, wanted: int, delay_s: float) -> int:
    """Start a batch, watch its table and page, and kill it with all its processes; return how often they were seen."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kidney_seg.predict", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline, seen = time.monotonic() + PATIENCE_S, 0
    while len(finished(out)) < wanted:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        if (out / "summary.csv").exists() and (out / "overview.html").exists():
            assert 1 <= len(rows_of((out / "summary.csv").read_text())) <= SCANS
            assert (out / "overview.html").read_text().rstrip().endswith("</html>")
            seen += 1
        time.sleep(0.005)
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL  # in the middle, indeed
    return seen


def test_a_batch_that_is_killed_is_resumed(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # shown if the test fails
    draw = random.Random(seed)
    out = tmp_path / "out"
    model = write_threshold_model(tmp_path / "best.keras")
    words = [str(model), str(tree), "--out", str(out)]
    done: dict[str, tuple[int, int]] = {}
    for jobs, wanted in (("1", 2), ("2", 5)):
        seen = killed([*words, "--jobs", jobs], out, wanted, draw.uniform(0, 0.1))
        assert seen > 0
        now = finished(out)
        assert now.items() >= done.items() and wanted <= len(now) < SCANS
        for name in now:
            read_labels(out / name)
        assert len(rows_of((out / "summary.csv").read_text())) <= len(now)
        assert (out / "overview.html").read_text().rstrip().endswith("</html>")
        done = now
    capsys.readouterr()
    assert main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len([line for line in printed if "exists, complete" in line]) == len(done)
    assert finished(out).items() >= done.items() and len(finished(out)) == SCANS
    assert len(rows_of((out / "summary.csv").read_text())) == SCANS
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]  # half-written files

    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in out.rglob("*")}
    assert main(words) == 0
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in out.rglob("*")} == before
    assert main([str(model), str(tree), "--out", str(tmp_path / "undisturbed")]) == 0
    assert made_in(out) == made_in(tmp_path / "undisturbed")
