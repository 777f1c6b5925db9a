"""What is exported is the pipeline: it loads in bare TensorFlow and gives the labels of `kidney_seg.predict`."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.helpers import assert_same_labels, one_line, save, three_classes
from tensorflow_serving.apis import prediction_log_pb2

from benchmarks.serving.stand_in import Servable
from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from data_prep.phantom.patient import simulate_patient
from data_prep.volume import read_labels, read_volume
from kidney_seg.config.run_config import Config
from kidney_seg.export import __main__ as export_command
from kidney_seg.export import examples, tensorflow_graph
from kidney_seg.export import exporters as export
from kidney_seg.export.contract import make_contract
from kidney_seg.export.model_card import _data
from kidney_seg.model.attention_unet import build_model
from kidney_seg.model.logit_adjustment import set_class_odds
from kidney_seg.model.model_file import ModelFile, load_model
from kidney_seg.predict import __main__ as predict
from kidney_seg.run.folder import RunFolder

VIEWS = "flips=both zooms=0.75,1 odds=1,2,30"
ENSEMBLE = "flips=left_right zooms=1,1.25 odds=1,2,30"
PLAIN = "multi_scale_input=false"  # traced sooner, where the graph around the network is what matters

pytestmark = [pytest.mark.network, pytest.mark.system]

# TensorFlow brings Keras along by itself; here it cannot be found, nor can anything of ours.
BARE = """
import sys

class Without:
    def __init__(self, finder): self.finder = finder
    def find_spec(self, name, *rest):
        hidden = name.split(".")[0] in ("keras", "kidney_seg", "data_prep")
        return None if hidden else self.finder.find_spec(name, *rest)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
given, made = np.load(sys.argv[2]), {}
for name in {key.split("/")[0] for key in given.files}:
    answer = model.signatures["serving_default"](
        slices=tf.constant(given[name + "/slices"], tf.float32), spacing_mm=tf.constant(given[name + "/spacing_mm"])
    )
    made |= {f"{name}/{key}": values.numpy() for key, values in answer.items()}
np.savez(sys.argv[3], **made)
print(sorted({name.split(".")[0] for name in sys.modules} & {"keras", "kidney_seg", "data_prep"}))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> dict[str, Path]:
    """Files by name: a simulated patient, and one of 512 x 796, as case 160 of KiTS19 is."""
    root = tmp_path_factory.mktemp("images")
    patient = simulate_patient(2, size=128, slices=12)
    wide = np.random.default_rng(0).integers(-1000, 1000, (2, 512, 796)).astype(np.int16)
    wide += np.repeat(np.repeat(patient.image[5:7], 4, 1), 8, 2)[:, :, :796] // 2
    affine = np.array([[0, 0, -0.7, 0], [0, -0.7, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1]])
    return {
        "phantom": save(root / "phantom.nii.gz", patient.image),
        "wide": save(root / "wide.nii.gz", wide, affine),
    }


def bare(version: Path, images: dict[str, Path], folder: Path) -> dict[str, np.ndarray]:
    """Return what the SavedModel answers in a Python without Keras and without this project."""
    given = {}
    for name, path in images.items():
        volume = read_volume(path)
        given[f"{name}/slices"] = volume.voxels
        given[f"{name}/spacing_mm"] = np.tile(volume.spacing_mm[1:], (len(volume.voxels), 1))
    np.savez(folder / "given.npz", **given)
    command = [sys.executable, "-I", "-c", BARE, str(version), str(folder / "given.npz"), str(folder / "made.npz")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"
    with np.load(folder / "made.npz") as made:
        return dict(made)


@pytest.mark.slow
def test_bare_tensorflow_gives_the_labels_of_predict(exported, images, tmp_path, request):
    model, version = exported
    chosen = dict(images)
    try:
        shared = request.getfixturevalue("shared_data") / "kits_real_slices"
        chosen["real"] = next(iter(sorted(shared.glob("case_*/imaging.nii.gz"))))
    except pytest.skip.Exception:
        pass  # the simulated ones are here
    made = bare(version, chosen, tmp_path)
    loaded = load_model(model)
    for name, path in chosen.items():
        out = tmp_path / f"{name}.nii.gz"
        assert predict.main([str(model), str(path), "--out", str(out), "--no-postprocess"]) == 0
        expected = read_labels(out).voxels
        assert len(np.unique(expected)) == 3
        volume = read_volume(path)
        spacing = np.tile(volume.spacing_mm[1:], (len(volume.voxels), 1))
        wanted = examples.example_outputs(loaded, {"slices": volume.voxels, "spacing_mm": spacing})
        assert_same_labels(made[f"{name}/labels"], expected, three_classes(wanted))
        for key in ("kidney_probability", "tumor_probability"):
            np.testing.assert_allclose(made[f"{name}/{key}"], wanted[key], atol=1e-5)


@pytest.mark.slow
def test_saved_model_cli_shows_and_runs(exported, tmp_path, monkeypatch, capsys):
    (script,) = entry_points(group="console_scripts", name="saved_model_cli")

    def cli(*arguments: str) -> str:
        """Do in this process what the script does; another one would load TensorFlow again."""
        monkeypatch.setattr(sys, "argv", ["saved_model_cli", *arguments])
        with pytest.raises(SystemExit) as ended:
            script.load()()
        assert not ended.value.code
        return capsys.readouterr().out

    version = str(exported[1])
    shown = cli("show", "--dir", version, "--tag_set", "serve", "--signature_def", "serving_default")
    for line in ("inputs['slices']", "inputs['spacing_mm']", "outputs['labels']", "outputs['tumor_probability']"):
        assert line in shown
    example = examples.load_examples(exported[1] / export.EXTRA / "examples.npz")["uneven"]
    np.save(tmp_path / "slices.npy", example["slices"].astype(np.float32))
    np.save(tmp_path / "spacing.npy", example["spacing_mm"])
    inputs = f"slices={tmp_path / 'slices.npy'};spacing_mm={tmp_path / 'spacing.npy'}"
    arguments = ["--dir", version, "--tag_set", "serve", "--signature_def", "serving_default", "--inputs", inputs]
    cli("run", *arguments, "--outdir", str(tmp_path))
    assert_same_labels(np.load(tmp_path / "labels.npy"), example["labels"], three_classes(example))


def test_what_lies_beside_the_graph(exported):
    model, version = exported
    extra = version / export.EXTRA
    assert Config.from_dict(json.loads((extra / "config.json").read_text())) == load_model(model).config
    assert json.loads((extra / "manifest.json").read_text())["exported_with"]["versions"]["keras"] == keras.__version__
    card = (version / "README.md").read_text()
    assert "Not for diagnosis" in card and "its data are not recorded here" in card
    servable = Servable(version)
    asked = []
    for record in tf.data.TFRecordDataset(str(extra / "tf_serving_warmup_requests")).as_numpy_iterator():
        sent = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        asked.append(sent.model_spec.signature_name)
        answer = servable.run(sent.model_spec.name, asked[-1], sent.inputs, lambda one, _: tf.make_ndarray(one))
        assert answer
    assert sorted(asked) == ["about", "heads", "png", "serving_default"]
    assert version.name == "1" and [one.name for one in version.parent.iterdir()] == ["1"]


@pytest.mark.slow
def test_an_interrupted_export_leaves_no_version(exported, tmp_path):
    root = tmp_path / "kidney_seg"
    shutil.copytree(exported[1], root / "1")
    command = [sys.executable, "-m", "kidney_seg.export", str(exported[0]), "--out", str(root)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 600
        while not list(root.glob(".tmp-*/saved_model.pb")):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert [one.name for one in root.iterdir() if not one.name.startswith(".tmp-")] == ["1"]
    assert export.export_saved_model(exported[0], root) == root / "2"
    assert sorted(one.name for one in root.iterdir()) == ["1", "2"]


@pytest.mark.parametrize(
    "more", ["", f"odds=1,2,30 {PLAIN}", f"{ENSEMBLE} {PLAIN}", f"{VIEWS} activation=sigmoid {PLAIN}"]
)
def test_neighbors_pixels_of_a_fixed_size_odds_and_views(more):
    settings = f"size=16 width_factor=0.1 gates= input_slices=3 slices_per_batch=3 {more}"
    config = Config().with_settings(settings.split())
    keras.utils.set_random_seed(1)
    loaded = ModelFile(build_model(config.model), config, GridSettings(16, 9.0), Path("model.keras"))
    set_class_odds(loaded.model, config.prediction.odds)
    if ENSEMBLE in more:
        other = config.with_settings(["odds=1,1,4", "width_factor=0.2"])
        with_it = ModelFile(build_model(other.model), other, loaded.grid, loaded.path)
        set_class_odds(with_it.model, other.prediction.odds)
        loaded = replace(loaded, others=(with_it,))
    _, signatures = tensorflow_graph.build_tensorflow_graph(loaded, make_contract(loaded))
    rng = np.random.default_rng(1)
    example = {"slices": rng.integers(-200, 400, (7, 30, 41)).astype(np.int16), "spacing_mm": np.full((7, 2), (6.0, 5))}
    wanted = examples.example_outputs(loaded, example)
    for name in ("serving_default", "heads"):
        made = signatures[name](
            slices=tf.constant(example["slices"], tf.float32), spacing_mm=tf.constant(example["spacing_mm"])
        )
        assert examples.differences(wanted, {key: values.numpy() for key, values in made.items()}) == []


def test_a_wrong_export_is_not_published(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorflow_graph, "build_tensorflow_graph", lambda *_: (tf.Module(), {}))  # quick
    monkeypatch.setattr(export.verification, "check_saved_model", lambda folder: ["labels: 3 of 9 pixels differ"])
    with pytest.raises(InputError) as caught:
        export.export_saved_model(exported[0], tmp_path / "models")
    assert "3 of 9 pixels differ" in one_line(caught)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent", "--out", "models"], "absent: no such model"),
        (["MODEL", "--out", "model.tflite", "--format", "onnx"], "ends in .onnx"),
    ],
)
def test_bad_arguments(arguments, words, exported, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert export_command.main([str(exported[0]) if word == "MODEL" else word for word in arguments]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_no_path_of_the_training_is_exported(tmp_path):
    paths = {"data": "/home/somebody/cache", "split": "/home/somebody/cache/split.json"}
    paths |= {"pretrained": "/home/somebody/run", "pretrained_sha256": "p"}
    RunFolder(tmp_path / "run", Config(), {"seed": 3, "data_sha256": "d", "split_sha256": "s", **paths}).close()
    told = json.dumps(export._manifest(tmp_path / "run", {"model_sha256": "m"}))
    assert '"seed": 3' in told and '"split_sha256": "s"' in told and '"pretrained_sha256": "p"' in told
    assert "- began with the weights of another model: SHA-256 `p`" in _data(tmp_path / "run")
    assert "somebody" not in told and str(tmp_path) not in told
