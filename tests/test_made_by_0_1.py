"""What version 0.1 wrote (a cache, a model, a run stopped within a round) is read, predicts and resumes today.

Files in `made_by_0_1/`: simulated patients of 32 x 32 pixels, a network of a tenth of the paper's width. `expected.npz`
holds what version 0.1 made of them: the slices, the model's probabilities, the losses of the run that nobody stopped.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_prep import read_labels
from data_prep.cache import read_case, read_manifest
from kidney_seg import Config, load_model, train
from kidney_seg.predict.__main__ import main as predict

MADE = Path(__file__).parent / "made_by_0_1"


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(MADE / "expected.npz") as file:
        return dict(file)


def test_cache(expected: dict[str, np.ndarray]) -> None:
    manifest = read_manifest(MADE / "cache")
    entry = next(entry for entry in manifest.entries if entry.case == "case_00002")
    image, label = read_case(manifest, entry)
    np.testing.assert_array_equal(image, expected["image"])
    np.testing.assert_array_equal(label, expected["label"])


def test_model(expected: dict[str, np.ndarray], tmp_path: Path) -> None:
    model = load_model(MADE / "run" / "best.keras").model
    found = model.predict_on_batch({"image": expected["image"][..., None].astype(np.float32)})["head4"]
    np.testing.assert_allclose(found, expected["probabilities"], atol=1e-5)
    out = tmp_path / "labels.nii.gz"
    assert predict([str(MADE / "run"), str(MADE / "case_00002" / "imaging.nii.gz"), "--out", str(out)]) == 0
    assert read_labels(out).voxels.shape == (8, 32, 32)


def test_run_stopped_within_a_round_resumes(expected: dict[str, np.ndarray], tmp_path: Path) -> None:
    for name in ("cache", "run", "case_00002"):
        shutil.copytree(MADE / name, tmp_path / name)
    sources = tmp_path / "cache" / "sources.json"
    sources.write_text(sources.read_text().replace("/simulated/patients", str(tmp_path)))
    settings = json.loads((MADE / "settings.json").read_text())
    said: list[str] = []
    train(tmp_path / "cache", tmp_path / "run", Config().with_settings(settings), 3, said.append)
    assert any("round 1" in line and "after step" in line for line in said), said
    lines = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert lines[-1]["event"] == "tested"
    losses = [row["loss"] for line in lines if line["event"] == "attempt" for row in line["history"]]
    np.testing.assert_allclose(losses, expected["losses"], rtol=1e-3)  # another processor rounds otherwise
