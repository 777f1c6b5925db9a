"""Model files: what is written is what is loaded, and anything else is refused in one line."""

from __future__ import annotations

import zipfile

import keras
import numpy as np
import pytest

from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from kidney_seg.config.run_config import Config
from kidney_seg.model.attention_unet import build_model
from kidney_seg.model.model_archive import LARGEST_SETTINGS, LARGEST_TEXT, SETTINGS_MEMBER
from kidney_seg.model.model_file import load_model, save_model

pytestmark = pytest.mark.network

CONFIG = Config().with_settings(["size=16", "width_factor=0.1", "alpha=0.6"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "best.keras"
    keras.utils.set_random_seed(1)
    model = build_model(CONFIG.model)
    save_model(model, CONFIG, GridSettings(16, 2.5), path)
    return model, path


def test_round_trip(saved):
    model, path = saved
    hu = np.random.default_rng(0).normal(0, 100, (2, 16, 16, 1)).astype(np.float32)
    for source in (path, path.parent):  # a file, or the run folder
        loaded = load_model(source)
        assert loaded.config == CONFIG and loaded.grid == GridSettings(16, 2.5)
        expected = model.predict_on_batch({"image": hu})
        for head, made in loaded.model.predict_on_batch({"image": hu}).items():
            np.testing.assert_array_equal(made, expected[head])
    assert [entry.name for entry in path.parent.iterdir()] == ["best.keras"]  # no temporary file stays


def test_keras_alone_reads_it(saved):
    assert keras.saving.load_model(saved[1], compile=False).count_params() == saved[0].count_params()


@pytest.mark.parametrize(
    "damage", ["truncated", "flipped", "empty", "text", "foreign", "bomb", "config bomb", "absent", "empty folder"]
)
def test_damaged_files_are_refused_in_one_line(saved, tmp_path, damage):
    content = saved[1].read_bytes()
    path = tmp_path / "model.keras"
    middle = len(content) // 2
    bad = {
        "truncated": content[: len(content) - 100],
        "flipped": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
        "empty": b"",
        "text": b"not a model",
    }
    if damage in bad:
        path.write_bytes(bad[damage])
    elif damage == "foreign":
        with zipfile.ZipFile(saved[1]) as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                if name != SETTINGS_MEMBER:
                    target.writestr(name, source.read(name))
    elif "bomb" in damage:
        member, most = (SETTINGS_MEMBER, LARGEST_SETTINGS) if damage == "bomb" else ("config.json", LARGEST_TEXT)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            target.writestr(member, b" " * (most + 1))
    with pytest.raises(InputError) as error:
        load_model(tmp_path if damage == "empty folder" else path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_a_network_with_weights_that_are_no_numbers_is_refused(tmp_path):
    model = build_model(CONFIG.model)
    model.get_layer("head4_logits").bias.assign([np.nan, 0, 0])
    save_model(model, CONFIG, GridSettings(16), tmp_path / "best.keras")
    with pytest.raises(InputError, match="head4_logits/bias are NaN or infinite"):
        load_model(tmp_path / "best.keras")
