"""The model that ships: what it promises, and that every way of naming a model finds it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import kidney_seg
from benchmarks.starter import in_half_precision, pack
from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.volume import read_labels
from kidney_seg.model.model_archive import SETTINGS_MEMBER
from kidney_seg.model.model_file import find_model, find_source, load_model
from kidney_seg.predict import __main__ as predict
from kidney_seg.predict.onnx import runtime as onnx_runtime
from kidney_seg.predict.onnx.files import onnx_files
from kidney_seg.weights import STARTER, STARTER_FILE

pytestmark = pytest.mark.network

ROOT = Path(__file__).resolve().parents[3]
RUN = ROOT / "tests" / "made_by_0_1" / "run"


def test_it_is_small_named_and_licensed():
    source = find_source(STARTER)
    assert source.path == STARTER_FILE and STARTER_FILE.stat().st_size <= 12e6
    assert source.about.name == STARTER and "CC BY-NC-SA 4.0" in source.about.license
    card = STARTER_FILE.with_name("CARD.md").read_text(encoding="utf-8")
    assert re.search(r"SHA-256.*`([0-9a-f]{64})`", card)[1] == sha256_of(STARTER_FILE)
    for needed in ("KiTS19", "CURVAS", "CC BY-NC-SA 4.0", "Limits", "not for diagnosis"):
        assert needed in card


def test_it_is_the_papers_network():
    model = find_source(STARTER).config.model
    assert model.gates == (1, 2, 3, 4) and model.multi_scale_input and model.deep_supervision
    assert find_source(STARTER).config.loss.loss_function == "focal_tversky"


def test_a_folder_of_its_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_model(STARTER) == STARTER_FILE
    (tmp_path / STARTER).mkdir()
    with pytest.raises(InputError, match=r"no best\.keras in this folder"):
        find_model(STARTER)


def test_half_precision_loads_as_single(tmp_path):
    pack(RUN, tmp_path / "packed.keras", ["smooth_z_mm=3"])
    packed, whole = load_model(tmp_path / "packed.keras"), load_model(RUN)
    assert packed.config.prediction.smooth_z_mm == 3 and packed.about.name == STARTER
    for made, given in zip(packed.model.get_weights(), whole.model.get_weights(), strict=True):
        assert made.dtype == np.float32
        expected = given.astype(np.float16).astype(np.float32) if given.ndim > 1 else given
        np.testing.assert_array_equal(made, expected)
    pack(RUN, tmp_path / "again.keras", ["smooth_z_mm=3"])
    assert (tmp_path / "again.keras").read_bytes() == (tmp_path / "packed.keras").read_bytes()
    with zipfile.ZipFile(RUN / "best.keras") as archive:
        half = in_half_precision(archive.read("model.weights.h5"))
    (tmp_path / "weights.h5").write_bytes(half)
    with h5py.File(tmp_path / "weights.h5") as file:
        kinds = set()
        file.visititems(lambda name, item: kinds.add((item.dtype.str, item.ndim)) if hasattr(item, "dtype") else None)
    assert {kind for kind, axes in kinds if axes > 1} == {"<f2"} and "<f2" not in {k for k, axes in kinds if axes == 1}


def test_it_is_never_packed_over_another_model(tmp_path):
    mine, other = (Path(shutil.copy(RUN / "best.keras", tmp_path / f"{name}.keras")) for name in ("mine", "other"))
    for out, said in ((mine, "is an input"), (other, "nothing that this command writes")):
        with pytest.raises(InputError, match=said):
            pack(mine, out, [])
        assert out.read_bytes() == (RUN / "best.keras").read_bytes()


@pytest.mark.parametrize("about", [7, {"name": "x"}, {"name": "x", "data": [1], "license": "y"}])
def test_what_a_file_says_of_itself_is_of_the_declared_form(about, tmp_path):
    with zipfile.ZipFile(RUN / "best.keras") as old, zipfile.ZipFile(tmp_path / "a.keras", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == SETTINGS_MEMBER:
                content = json.dumps({**json.loads(content), "about": about}).encode()
            new.writestr(name, content)
    with pytest.raises(InputError, match="cannot be used") as caught:
        find_source(tmp_path / "a.keras")
    assert "\n" not in str(caught.value)


def test_the_package_stays_as_it_was_installed(monkeypatch):
    whole = {path.name for path in STARTER_FILE.parent.iterdir()} - {"__pycache__"}
    (name,) = {path.name for path in onnx_files(find_source(STARTER))}
    assert whole == {"CARD.md", "LICENSE", "__init__.py", "starter.keras", name}
    monkeypatch.setattr(onnx_runtime, "make_onnx", lambda source: pytest.fail("its file is there"))
    content = onnx_runtime.onnx_file(find_source(STARTER))
    monkeypatch.setattr(onnx_runtime, "make_onnx", lambda source: b"made")
    monkeypatch.setattr(onnx_runtime, "has_weights_of", lambda content, source: False)  # as if it were damaged
    assert onnx_runtime.onnx_file(find_source(STARTER)) == b"made" != content
    assert {path.name for path in STARTER_FILE.parent.iterdir()} - {"__pycache__"} == whole


@pytest.mark.slow
def test_it_needs_no_tensorflow():
    code = (
        "import sys, numpy as np, kidney_seg\n"
        "hu = np.random.default_rng(0).normal(40, 90, (3, 64, 64)).astype(np.int16)\n"
        "found = kidney_seg.segment(hu, affine=np.diag([-2.0, -2.0, 5.0, 1.0]))\n"
        "print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "PYTHONPATH": str(ROOT)
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "set()\n", done.stderr[-2000:]


@pytest.mark.slow
def test_a_real_scan_without_tumor(shared_data, tmp_path, capsys):
    """No contrast agent, 3 mm: hard for it, and it says so."""
    case = shared_data / "real_ct" / "case_90000"
    assert predict.main([STARTER, str(case / "imaging.nii.gz"), "--out", str(tmp_path / "labels.nii.gz")]) == 0
    printed = capsys.readouterr()
    assert "model: starter; trained on " in printed.err and "CC BY-NC-SA 4.0" in printed.err
    assert "without contrast agent" in printed.err


@pytest.mark.slow
def test_a_real_scan_of_kits(shared_data):
    case = shared_data / "kits_whole" / "case_00000"
    found = kidney_seg.segment(case / "imaging.nii.gz")
    truth = read_labels(case / "segmentation.nii.gz").voxels
    both = np.count_nonzero((found.labels > 0) & (truth > 0))
    assert 2 * both / (np.count_nonzero(found.labels) + np.count_nonzero(truth)) > 0.85
    assert len(found.kidneys) == 2 and found.record["model"]["name"] == STARTER
