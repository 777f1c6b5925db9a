"""The pipeline as one ONNX file: ONNX Runtime alone gives the labels of the `.keras` model."""

from __future__ import annotations

import json
import subprocess
import sys

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from support.helpers import SMALLEST, assert_same_labels, one_line, three_classes

from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.geometry.network_grid import GridSettings
from kidney_seg.config.run_config import Config
from kidney_seg.export import __main__ as export_command
from kidney_seg.export import examples
from kidney_seg.export import exporters as export
from kidney_seg.model.attention_unet import build_model
from kidney_seg.model.logit_adjustment import with_class_odds
from kidney_seg.model.model_file import load_model, save_model
from kidney_seg.serving import __main__ as serving

pytestmark = [pytest.mark.network, pytest.mark.system]
ALONE = """
import sys
import numpy as np, onnxruntime

given = np.load(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1])
names = [one.name for one in session.get_outputs()]
made = session.run(names, {"slices": given["slices"].astype(np.float32), "spacing_mm": given["spacing_mm"]})
np.savez(sys.argv[3], **dict(zip(names, made)))
print(sorted({name.split(".")[0] for name in sys.modules} & {"tensorflow", "keras", "kidney_seg", "data_prep"}))
"""


@pytest.fixture(scope="module")
def file(exported, tmp_path_factory):
    return export.export_onnx(exported[0], tmp_path_factory.mktemp("onnx") / "model.onnx")


def test_without_tensorflow(exported, file, tmp_path):
    loaded = load_model(exported[0])
    hu = np.random.default_rng(0).integers(-1000, 1000, (2, 512, 796)).astype(np.int16)
    hu[:, 200:300, 200:400] += 300
    example = {"slices": hu, "spacing_mm": np.full((2, 2), 0.78162497)}
    np.savez(tmp_path / "given.npz", **example)
    command = [sys.executable, "-I", "-c", ALONE, str(file), str(tmp_path / "given.npz"), str(tmp_path / "made.npz")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"
    wanted = examples.example_outputs(loaded, example)
    with np.load(tmp_path / "made.npz") as made:
        assert_same_labels(made["labels"], wanted["labels"], three_classes(wanted))
        for name in ("kidney_probability", "tumor_probability"):
            np.testing.assert_allclose(made[name], wanted[name], atol=examples.TOLERANCE)


@pytest.mark.parametrize(
    "more",
    [
        "",
        "flips=left_right zooms=1,1.25 odds=1,2,30 precision=mixed_bfloat16 multi_scale_input=false",
        "flips=both zooms=0.75,1 odds=1,2,30 activation=sigmoid multi_scale_input=false",
    ],
)
def test_neighbors_pixels_of_a_fixed_size_odds_and_views(more, tmp_path):
    config = Config().with_settings(f"size=16 width_factor=0.1 gates= input_slices=3 {more}".split())
    keras.utils.set_random_seed(1)
    with with_class_odds(build_model(config.model), config.prediction.odds) as model:
        save_model(model, config, GridSettings(16, 9.0), tmp_path / "model.keras")
    made = export.export_onnx(tmp_path / "model.keras", tmp_path / "model.onnx")  # compares the answers
    assert serving.main(["--check", str(made), "--model", str(tmp_path / "model.keras")]) == 0


def test_an_ensemble(tmp_path, capsys):
    paths = [str(tmp_path / f"{name}.keras") for name in ("first", "second")]
    for seed, (path, more) in enumerate(zip(paths, ([], ["width_factor=0.2", "odds=1,1,1"]), strict=True)):
        keras.utils.set_random_seed(seed)
        config = Config().with_settings(["size=16", "width_factor=0.1", *SMALLEST, "odds=1,2,30", *more])
        with with_class_odds(build_model(config.model), config.prediction.odds) as model:
            save_model(model, config, GridSettings(16, 9.0), path)
    made = str(tmp_path / "both.onnx")
    assert export_command.main([paths[0], "--format", "onnx", "--out", made, "--ensemble", paths[1]]) == 0
    assert serving.main(["--check", made, "--model", paths[0], "--ensemble", paths[1]]) == 0
    card = {one.key: one.value for one in onnx.load(made).metadata_props}["model_card"]
    assert all(sha256_of(path) in card for path in paths)
    assert serving.main(["--check", made, "--ensemble", paths[1]]) == 2
    assert "requires --model" in capsys.readouterr().err
    assert serving.main(["--check", made, "--model", paths[0]]) == 1  # one of them alone says something else
    said = capsys.readouterr().out
    assert "was exported from another model" in said
    assert "tumor_probability: differs" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda slices, spacing: (slices * np.nan, spacing), "NaN or infinity"),
        (lambda slices, spacing: (slices[:0], spacing[:0]), "at least one pixel"),
        (lambda slices, spacing: (slices, spacing[:1]), "for every slice"),
        (lambda slices, spacing: (slices, spacing * 0), "0.01 to 100"),
        (lambda slices, spacing: (np.zeros((2, 5000, 2), np.float32), spacing), "at most 4096"),
        (lambda slices, spacing: (slices[0], spacing), "rank"),
    ],
)
def test_malformed_requests(file, change, words):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(file, options)
    slices, spacing_mm = np.zeros((2, 20, 30), np.float32), np.ones((2, 2))
    for _ in range(2):
        wrong = dict(zip(("slices", "spacing_mm"), change(slices, spacing_mm), strict=True))
        with pytest.raises(Exception, match=words):
            session.run(None, wrong)
        assert session.run(["labels"], {"slices": slices, "spacing_mm": spacing_mm})[0].shape == (2, 20, 30)


def test_whole_or_not_at_all(exported, file, tmp_path, monkeypatch):
    with pytest.raises(InputError) as caught:
        export.export_onnx(exported[0], file)
    assert "--force" in one_line(caught)
    assert export.export_onnx(exported[0], file, force=True) == file
    properties = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
    assert set(properties) == {"contract", "config", "model_card"} and "Not for diagnosis" in properties["model_card"]
    assert json.loads(properties["contract"])["input_slices"] == 1
    monkeypatch.setattr(export.verification, "check_onnx", lambda path, wanted: ["labels: wrong"])
    with pytest.raises(InputError, match="labels: wrong"):
        export.export_onnx(exported[0], tmp_path / "new.onnx")
    assert list(tmp_path.iterdir()) == []
