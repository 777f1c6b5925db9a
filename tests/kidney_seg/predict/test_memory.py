"""How many processes the memory holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.helpers import save

from data_prep.errors import InputError
from data_prep.scans import Scan
from kidney_seg.predict.memory import BYTES_PER_VOXEL, PROGRAM_BYTES, available_bytes, jobs_that_fit


def test_as_many_as_the_memory_holds_but_one(tmp_path):
    small = Scan("small", save(tmp_path / "small.nii", np.zeros((2, 3, 4), np.int16)))
    large = Scan("large", save(tmp_path / "large.nii", np.zeros((100, 100, 100), np.int16)))
    gone, broken = Scan("gone", Path("gone.nii")), Scan("broken", tmp_path, problem=InputError("is damaged"))
    each = PROGRAM_BYTES + 1_000_000 * BYTES_PER_VOXEL
    lines = []
    for wanted, sizes, expected in ((1, 0, 1), (4, 4, 4), (4, 3, 3), (4, 0.9, 1), (9, 99, 4)):
        available = int(sizes * each)
        assert jobs_that_fit(wanted, [small, large, gone, broken], available, lines.append) == expected
    assert len(lines) == 2 and lines[0].startswith("note: --jobs 4: the memory free now, 3.3 GB, is enough for 3")


@pytest.mark.parametrize("limit", ["max", str(10**15)])
def test_the_system_is_asked(limit, monkeypatch):
    real = Path.read_text

    def read(path, *options):
        if "memory.max" in str(path) or "memory.current" in str(path):
            return limit if "max" in path.name else "5"
        return real(path, *options)

    monkeypatch.setattr(Path, "read_text", read)
    assert 10**8 < available_bytes() < 10**14
    if limit != "max":
        monkeypatch.setattr(Path, "read_text", lambda path: "1000" if path.name == "memory.max" else read(path))
        assert available_bytes() == 995
