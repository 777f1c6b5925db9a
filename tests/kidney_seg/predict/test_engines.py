"""Engines agree; the ONNX file is made once, belongs to its model, and is never used damaged."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from support.helpers import one_line
from support.threshold_model import SIZE, write_threshold_model

from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from kidney_seg import tensorflow_log
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.config.run_config import Config
from kidney_seg.model.attention_unet import build_model
from kidney_seg.model.model_file import find_source, save_model
from kidney_seg.predict.engines import choose_engine, make_job, open_predictor
from kidney_seg.predict.onnx import runtime as onnx_engine
from kidney_seg.predict.onnx.files import onnx_name
from kidney_seg.predict.onnx.runtime import onnx_file, onnx_forward
from kidney_seg.weights import STARTER

pytestmark = pytest.mark.network


@pytest.fixture
def model(tmp_path):
    return write_threshold_model(tmp_path / "best.keras")


def files(folder):
    return sorted(path.name for path in folder.glob("*.onnx"))


def test_both_engines_agree(tmp_path):
    config = Config().with_settings(["size=32", "width_factor=0.2", "input_slices=3", "foreground_prior=0.6"])
    save_model(build_model(config.model), config, GridSettings(32), tmp_path / "best.keras")
    slices = np.random.default_rng(0).normal(50, 150, (37, 32, 32)).astype(np.int16)
    source = find_source(tmp_path)
    made = [open_predictor([source], PredictionConfig(), engine)(slices) for engine in ("keras", "onnx")]
    assert made[0].std() > 0.01
    np.testing.assert_allclose(made[1], made[0], atol=onnx_engine.LARGEST_DIFFERENCE)
    few = open_predictor([source], PredictionConfig(slices_per_batch=5), "onnx")(slices)
    np.testing.assert_allclose(few, made[1], atol=1e-6)


def test_the_file_is_made_once(model, monkeypatch):
    first = onnx_file(find_source(model))
    (name,) = files(model.parent)
    assert name.startswith(f"best-{find_source(model).sha256[:16]}-")
    monkeypatch.setattr(onnx_engine, "make_onnx", lambda source: pytest.fail("made twice"))
    assert onnx_file(find_source(model)) == first == (model.parent / name).read_bytes()


def test_the_file_of_a_network_with_coarse_heads_is_made_once(tmp_path, monkeypatch):
    config = Config().with_settings(["size=16", "width_factor=0.1"])
    network = build_model(config.model)
    for layer in network.layers:  # trained: all weights differ
        layer.set_weights([np.random.default_rng(one.size).uniform(0.1, 1, one.shape) for one in layer.get_weights()])
    save_model(network, config, GridSettings(16), tmp_path / "best.keras")
    content = onnx_file(find_source(tmp_path))
    monkeypatch.setattr(onnx_engine, "make_onnx", lambda source: pytest.fail("made twice"))
    assert onnx_file(find_source(tmp_path)) == content
    head = network.get_layer("head4_logits")
    head.set_weights([one + 1 for one in head.get_weights()])
    save_model(network, config, GridSettings(16), tmp_path / "other.keras")
    source = find_source(tmp_path / "other.keras")
    (tmp_path / onnx_name(source, content)).write_bytes(content)
    monkeypatch.setattr(onnx_engine, "make_onnx", lambda source: b"made")
    assert onnx_file(source) == b"made"  # only the finest head differs


def test_another_model_gets_its_own_file(model):
    onnx_file(find_source(model))
    write_threshold_model(model, kidney_hu=60.0)
    hu = np.full((1, SIZE, SIZE, 1), 55, np.float32)
    assert onnx_forward(find_source(model))(hu).argmax(axis=-1).max() == 0  # 55 HU is no kidney any more
    assert len(files(model.parent)) == 2


def test_another_networks_weights_under_a_fitting_name_are_not_used(model, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    content = onnx_file(find_source(write_threshold_model(other / "best.keras", kidney_hu=60.0)))
    source = find_source(model)
    digest = hashlib.sha256(content).hexdigest()[:16]
    (model.parent / f"best-{source.sha256[:16]}-{digest}.onnx").write_bytes(content)
    assert onnx_file(source) != content
    hu = np.full((1, SIZE, SIZE, 1), 55, np.float32)
    assert (onnx_forward(source)(hu).argmax(axis=-1) == 1).all()  # kidney, as its own network says


def test_the_right_weights_beside_others_are_not_enough(model):
    import onnx

    source, wrong = find_source(model), np.full((16, 16), 7, np.float32)
    network = onnx.load_from_string(onnx_file(source))
    (made,) = model.parent.glob("*.onnx")
    made.unlink()
    network.graph.initializer.append(onnx.numpy_helper.from_array(wrong, "unknown"))
    content = network.SerializeToString()
    digest = hashlib.sha256(content).hexdigest()[:16]
    (model.parent / f"best-{source.sha256[:16]}-{digest}.onnx").write_bytes(content)
    assert onnx_file(source) != content


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_file_is_made_again(model, damage):
    content = onnx_file(find_source(model))
    (name,) = files(model.parent)
    bad = content[:-9] if damage == "cut" else content[:200] + bytes([content[200] ^ 1]) + content[201:]
    (model.parent / name).write_bytes(bad)
    assert onnx_file(find_source(model)) == content
    assert files(model.parent) == [name] and (model.parent / name).read_bytes() == content


def test_a_folder_that_may_not_be_written_to(model, monkeypatch):
    def refuse(path, content):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(onnx_engine, "write_file", refuse)
    hu = np.full((1, SIZE, SIZE, 1), 100, np.float32)
    assert (onnx_forward(find_source(model))(hu).argmax(axis=-1) == 1).all()
    assert files(model.parent) == []


def test_another_result_is_an_error(model, monkeypatch):
    convert = onnx_engine.to_onnx

    def wrong(network, metadata):
        weights = network.layers[1].get_weights()
        network.layers[1].set_weights([weights[0], weights[1] + np.float32([0, 0.01, 0])])
        content = convert(network, metadata)
        network.layers[1].set_weights(weights)
        return content

    monkeypatch.setattr(onnx_engine, "to_onnx", wrong)
    with pytest.raises(InputError, match=r"differ by .*--engine keras") as caught:
        onnx_file(find_source(model))
    one_line(caught)
    assert files(model.parent) == []


def test_half_precision_is_compared_with_single(tmp_path):
    config = Config().with_settings(["size=16", "width_factor=0.1", "precision=mixed_bfloat16"])
    save_model(build_model(config.model), config, GridSettings(16), tmp_path / "best.keras")
    assert onnx_file(find_source(tmp_path))


def test_auto_and_what_is_not_installed(monkeypatch, tmp_path):
    assert choose_engine("keras") == "keras" and choose_engine("onnx") == "onnx"
    monkeypatch.setattr(tensorflow_log, "NVIDIA", tmp_path / "version")
    assert choose_engine("auto") == "onnx"
    (tmp_path / "version").touch()
    assert choose_engine("auto") == "keras"
    (tmp_path / "version").unlink()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose_engine("auto") == "keras"
    with pytest.raises(InputError, match=r"onnxruntime not installed; run: pip install 'kidney_seg\[onnx\]'") as caught:
        choose_engine("onnx")
    one_line(caught)


def test_auto_is_onnx_once_its_file_is_there(model, monkeypatch, tmp_path):
    monkeypatch.setattr(tensorflow_log, "NVIDIA", tmp_path / "version")
    assert make_job(model).engine == "keras"
    onnx_file(find_source(model))
    assert make_job(model).engine == "onnx"
    other = write_threshold_model(tmp_path / "other.keras", kidney_hu=60.0)
    assert make_job(model, [str(other)]).engine == "keras"  # one of the two has no file
    assert make_job(STARTER).engine == "onnx"


def test_onnx_needs_no_tensorflow(model):
    onnx_file(find_source(model))
    code = (
        "import sys, numpy as np\n"
        "from kidney_seg.config.prediction import PredictionConfig\n"
        "from kidney_seg.predict.engines import open_predictor\n"
        "from kidney_seg.model.model_file import find_source\n"
        f"made = open_predictor([find_source({str(model)!r})], PredictionConfig(), 'onnx')\n"
        f"print(made(np.full((2, {SIZE}, {SIZE}), 100, np.int16)).argmax(axis=-1).mean())\n"
        "print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["1.0", "[]"]
