"""The page on the cache format says what is there: no field is missing, and its example runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.helpers import save

from data_prep.build.builder import build
from data_prep.geometry.network_grid import GridSettings
from data_prep.split.folds import make_folds
from data_prep.split.sets import make_split

PAGE = (Path(__file__).parents[3] / "docs" / "explanation" / "cache_format.md").read_text()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("format")
    rng = np.random.default_rng(0)
    for number in range(4):
        folder = root / "data" / f"case_{number:05d}"
        folder.mkdir(parents=True)
        save(folder / "imaging.nii.gz", rng.integers(-1000, 1000, (3, 32, 32)).astype(np.int16))
        if number:
            save(folder / "segmentation.nii.gz", rng.integers(0, 3, (3, 32, 32)).astype(np.uint8))
    build(root / "data", root / "cache", GridSettings(16))
    return root / "cache"


def named(part: str) -> set[str]:
    """Return what a section of the page names before the colons of its items, and in the lists between."""
    text = PAGE.split(f"\n## {part}")[1].split("\n## ")[0]
    rows = [line.split(":")[0] for line in text.splitlines() if line.startswith("- `")]
    lists = re.findall(r"Each case has (.*?) as above", text, re.DOTALL)
    return set(re.findall(r"`(\w+)`", " ".join(rows + lists)))


def test_every_dataset_and_attribute_is_on_the_page(cache: Path) -> None:
    with h5py.File(cache / "case_00001.h5") as file:
        assert named("A case") == {*file, *file.attrs, "metadata"}
        assert file.attrs["schema"] == 3
        assert [file[name].dtype.name for name in ("image", "label", "pixels")] == ["int16", "uint8", "int64"]
        for name, dtype in (("spacing_mm", "float64"), ("shape_zyx", "int64"), ("pixel_mm", "float64")):
            assert np.asarray(file.attrs[name]).dtype.name == dtype


def test_every_field_of_the_manifest_is_on_the_page(cache: Path) -> None:
    content = json.loads((cache / "manifest.json").read_text())
    assert named("`manifest.json`") == {*content, *content["cases"][0]}
    sources = json.loads((cache / "sources.json").read_text())
    assert set(sources) == {"schema", "cases"}
    assert set(sources["cases"]["case_00000"]) == {"image_path", "label_path"}


def test_every_field_of_a_split_is_on_the_page(cache: Path) -> None:
    from data_prep.cache.manifest import read_manifest

    manifest = read_manifest(cache)
    assert named("Splits") == {*make_split(manifest), *make_folds(manifest, 3)[0]}


def test_the_example_reads_a_cache_without_us(cache: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "data_prep" not in code and "kidney_seg" not in code
    (tmp_path / "example.py").write_text(f"CACHE = {str(cache)!r}\n{code}")
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and lines[0].startswith("case_00000 (3, 16, 16) 1.6000000")
