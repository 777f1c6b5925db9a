"""`make kits`: from nothing to Table 1, with simulated patients served as KiTS23; a second run changes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.bad_server import serving
from support.helpers import SMALLEST

from data_prep.phantom.cohort import write_cohort

ROOT = Path(__file__).resolve().parents[2]
TINY = " ".join(("size=32 width_factor=0.1 starts=1 start_steps=4 steps=4 max_rounds=1 batch_size=2", *SMALLEST))


@pytest.mark.slow
def test_from_nothing_to_table_1(tmp_path):
    served = tmp_path / "served"
    write_cohort(served, cases=8, size=32, slices=16)

    def kits(address: str) -> subprocess.CompletedProcess:
        words = [
            "make", "-o", ".venv/ready", "kits", f"PY={sys.executable}", f"KITS={tmp_path}/kits",
            f"DOWNLOAD=--accept-license --cases 0-7 --mirror {address}", "BUILD=--size 32", f"SET={TINY}",
        ]  # fmt: skip
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)

    with serving(served) as (address, orders):
        orders.moods["/case_00002/imaging.nii.gz"] += ["cut", 503]
        first = kits(address)
        assert first.returncode == 0, first.stdout[-2000:] + first.stderr[-2000:]
        assert "Table 1" in first.stdout and "16 files made, 0 kept, 0 missing" in first.stdout
        folder = tmp_path / "kits"
        kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.nii.gz")}
        assert (folder / "predictions" / "evaluation" / "report.html").is_file() and (
            folder / "run" / "best.keras"
        ).is_file()
        again = kits(address)
    assert again.returncode == 0 and "0 files made, 16 kept" in again.stdout, again.stderr[-2000:]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.nii.gz")} == kept
