"""`--check` says of an exported model whether it holds its contract."""

from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import pytest
from support.helpers import one_line

from data_prep.errors import InputError
from kidney_seg.export.examples import differences
from kidney_seg.export.verification import check_export
from kidney_seg.model.model_file import load_model, save_model
from kidney_seg.serving import __main__ as serving

pytestmark = [pytest.mark.network, pytest.mark.system]


@pytest.fixture
def copy(exported, tmp_path):
    """A copy of the version folder, to be damaged."""
    return shutil.copytree(exported[1], tmp_path / "models" / "1")


def test_it_holds(exported, copy, capsys):
    for path, options in ((copy.parent, []), (copy, ["--model", str(exported[0])])):
        assert serving.main(["--check", str(path), *options]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1] == f"{path}: satisfies the contract"
        assert lines[:-1] == (["model: trained on patients of unknown origin"] if options else [])


def test_another_model(exported, copy, tmp_path, capsys):
    loaded = load_model(exported[0])
    keras.utils.set_random_seed(9)
    for layer in loaded.model.layers:
        layer.set_weights([np.random.default_rng(0).permutation(values) for values in layer.get_weights()])
    save_model(loaded.model, loaded.config, loaded.grid, tmp_path / "other.keras")
    assert serving.main(["--check", str(copy), "--model", str(tmp_path / "other.keras")]) == 1
    said = capsys.readouterr().out
    assert "was exported from another model" in said and "labels: " in said and "pixels differ" in said


def change_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_the_contract_says_is_looked_for(copy):
    contract = copy / "assets.extra" / "contract.json"
    change_json(contract, lambda content: content["signatures"]["heads"]["outputs"].pop("head1"))
    assert any("heads, outputs: found head1" in line for line in check_export(copy))
    change_json(contract, lambda content: content["signatures"]["heads"]["outputs"].clear())
    change_json(contract, lambda content: content["signatures"]["png"]["inputs"]["slices"].update(dtype="uint8"))
    assert any("png, input slices: found string" in line for line in check_export(copy))
    change_json(contract, lambda content: content["signatures"].update(more=content["signatures"]["png"]))
    assert any(line.startswith("signatures: found about, heads, png") for line in check_export(copy))


def test_examples_that_differ(copy):
    path = copy / "assets.extra" / "examples.npz"
    with np.load(path) as arrays:
        content = dict(arrays)
    content["patient/tumor_probability"] = content["patient/tumor_probability"] + np.float32(1e-3)
    np.savez(path, **content)
    assert any("tumor_probability: differs by up to 0.001" in line for line in check_export(copy))


def test_labels_may_differ_at_near_ties_alone():
    """Of 50 pixels the tumor leads the kidney in each by `gap`."""
    for gap, tolerance, wrong in (
        (0.9e-5, 1e-5, []),
        (1.1e-5, 1e-5, ["labels: 1 of 50 pixels differ"]),
        (9e-5, 1e-4, []),
    ):
        expected = {name: np.full((2, 5, 5), 0.45) for name in ("kidney_probability", "tumor_probability")}
        expected["tumor_probability"] += gap
        expected["labels"] = np.full((2, 5, 5), 2, np.uint8)
        labels = expected["labels"].copy()
        labels[1, 2, 3] = 1
        assert differences(expected, {"labels": labels}, tolerance) == wrong


@pytest.mark.parametrize("damage", ["no graph", "no weights", "no contract", "other schema", "no examples", "absent"])
def test_what_cannot_be_checked_is_said_in_one_line(damage, copy):
    if damage == "no graph":
        (copy / "saved_model.pb").write_bytes(b"nothing")
    elif damage == "no weights":
        shutil.rmtree(copy / "variables")
    elif damage == "no contract":
        (copy / "assets.extra" / "contract.json").unlink()
    elif damage == "other schema":
        change_json(copy / "assets.extra" / "contract.json", lambda content: content.update(schema=99))
    elif damage == "no examples":
        (copy / "assets.extra" / "examples.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(InputError) as caught:
        check_export(copy / "absent" if damage == "absent" else copy)
    assert str(copy) in one_line(caught)


@pytest.mark.parametrize(
    "arguments", [[], ["host:1"], ["host:1", "scan.nii.gz"], ["host:1", "--check", "models"], ["--model", "run"]]
)
def test_either_a_volume_or_a_check(arguments, capsys):
    assert serving.main(arguments) == 2
    assert "--check" in capsys.readouterr().err
