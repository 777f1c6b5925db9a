"""What exists of a prediction: missing, done or foreign."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.helpers import save

from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.volume import read_volume
from kidney_seg.predict import outputs as prediction_files
from kidney_seg.predict.outputs import Done, Foreign, Missing, outputs_beside, write_outputs

MADE_BY = {"models": ["a"], "grid": {"size": 16}, "settings": {"flips": "none"}}
IMAGE = {"sha256": "1", "series": None}


@pytest.fixture
def volume(tmp_path):
    return read_volume(save(tmp_path / "ct.nii.gz", np.zeros((3, 4, 5), np.int16)))


def write(outputs, volume):
    labels = np.ones(volume.voxels.shape, np.uint8)
    return write_outputs(outputs, volume, labels, labels, {"image": IMAGE, "made_by": MADE_BY})


def test_done(volume, tmp_path):
    outputs = outputs_beside(tmp_path / "out" / "x.nii.gz", probabilities=True)
    assert outputs.state(MADE_BY, IMAGE) == Missing()
    record = write(outputs, volume)
    assert record == json.loads((tmp_path / "out" / "x.json").read_text())
    assert record["files"] == {
        "x.nii.gz": sha256_of(tmp_path / "out" / "x.nii.gz"),
        "tumor_probability/x.nii.gz": sha256_of(tmp_path / "out" / "tumor_probability" / "x.nii.gz"),
    }
    assert outputs.state(MADE_BY, IMAGE) == outputs.state(MADE_BY) == Done(record)
    assert outputs_beside(outputs.labels).state(MADE_BY, IMAGE) == Done(record)  # fewer files


def test_surfaces_are_files_of_the_record(volume, tmp_path):
    outputs = outputs_beside(tmp_path / "x.seg.nrrd", surfaces="stl")
    record = write(outputs, volume)
    names = ["surfaces/x.seg_kidney.stl", "surfaces/x.seg_tumor.stl"]
    assert {name: sha256_of(tmp_path / name) for name in names}.items() <= record["files"].items()
    assert outputs.state(MADE_BY, IMAGE) == Done(record)
    (tmp_path / names[1]).unlink()
    assert outputs.state(MADE_BY, IMAGE) == Missing()
    assert outputs_beside(tmp_path / "x.seg.nrrd").state(MADE_BY, IMAGE) == Done(record)


@pytest.mark.parametrize("missing", ["x.nii.gz", "x.json", "tumor_probability/x.nii.gz"])
def test_missing(volume, tmp_path, missing):
    outputs = outputs_beside(tmp_path / "x.nii.gz", probabilities=True)
    write(outputs, volume)
    (tmp_path / missing).unlink()
    state = outputs.state(MADE_BY, IMAGE)
    if missing == "x.json":
        assert state == Foreign(outputs.labels, "exists, and no x.json records how it was made")
    else:
        assert state == Missing()


@pytest.mark.parametrize(
    ("made_by", "image", "words"),
    [
        (MADE_BY | {"models": ["b"]}, IMAGE, "other models"),
        (MADE_BY | {"grid": {"size": 32}, "settings": {}}, IMAGE, "other grid and settings"),
        (MADE_BY, {"sha256": "2", "series": None}, "other image"),
    ],
)
def test_made_otherwise(volume, tmp_path, made_by, image, words):
    outputs = outputs_beside(tmp_path / "x.nii.gz")
    write(outputs, volume)
    state = outputs.state(made_by, image)
    assert state == Foreign(outputs.labels, f"exists, but was made with {words}")
    assert str(state.error) == (
        f"{outputs.labels}: exists, but was made with {words}; choose another --out, or replace it with --force"
    )
    assert (state.error.code, state.error.path) == ("exists", outputs.labels)


def test_changed_by_hand_and_of_others(volume, tmp_path):
    outputs = outputs_beside(tmp_path / "x.nii.gz")
    write(outputs, volume)
    outputs.labels.write_bytes(outputs.labels.read_bytes() + b"\0")
    assert outputs.state(MADE_BY, IMAGE) == Foreign(outputs.labels, "exists, but was changed after it was written")
    for text in ("{}", "[1]", "no json", '{"program": 3}', '{"program": "other 1.0", "files": {}}'):
        (tmp_path / "y.json").write_text(text)
        state = outputs_beside(tmp_path / "y.nii.gz").state(MADE_BY)
        assert state == Foreign(tmp_path / "y.json", "exists, and no y.json records how it was made")


def test_what_is_of_another_kind_is_never_replaced(volume, tmp_path):
    write(outputs_beside(tmp_path / "x.nii.gz"), volume)
    for name in ("x", "y"):
        outputs = outputs_beside(tmp_path / f"{name}.nii.gz", dicom_seg=True)
        outputs.seg.write_bytes(b"a slice")
        state = outputs.state(MADE_BY, IMAGE)
        assert (state.path, state.replaceable) == (outputs.seg, False) and f"and no {name}.json" in str(state.error)
        assert "--force" not in str(state.error) and state.error.code == "foreign"
    for name, content, replaceable in (("labels", np.uint8(1), True), ("scan", np.int16(-5), False)):
        path = save(tmp_path / f"{name}.nii.gz", np.full((3, 4, 5), content))
        assert outputs_beside(path).state(MADE_BY, IMAGE).replaceable == replaceable
    (tmp_path / "labels.json").write_text("{}")
    state = outputs_beside(tmp_path / "labels.nii.gz").state(MADE_BY, IMAGE)
    assert (state.path.name, state.replaceable) == ("labels.nii.gz", False)


def test_labels_stay_if_another_file_fails(volume, tmp_path, monkeypatch):
    def fail(*arguments):
        raise InputError("no")

    outputs = outputs_beside(tmp_path / "x.nii.gz", probabilities=True)
    with monkeypatch.context() as patched, pytest.raises(InputError, match="no"):
        patched.setattr(prediction_files, "write_percent", fail)
        write(outputs, volume)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["ct.nii.gz", "x.json", "x.nii.gz"]
    assert isinstance(outputs_beside(outputs.labels).state(MADE_BY, IMAGE), Done)
    assert outputs.state(MADE_BY, IMAGE) == Missing()


@pytest.mark.parametrize("moment", ["write_labels", "sha256_of"])
def test_a_failure_leaves_nothing(volume, tmp_path, moment, monkeypatch):
    def fail(*arguments):
        raise InputError("no")

    monkeypatch.setattr(prediction_files, moment, fail)
    with pytest.raises(InputError, match="no"):
        write(outputs_beside(tmp_path / "out" / "x.nii.gz", probabilities=True), volume)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("moment", ["write_percent", "write_labels", "sha256_of"])
def test_a_killed_process_leaves_what_is_done_again(volume, tmp_path, moment, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*arguments):
        raise Killed

    outputs = outputs_beside(tmp_path / "x.nii.gz", probabilities=True)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(prediction_files, moment, die)
        write(outputs, volume)
    assert outputs.state(MADE_BY, IMAGE) == Missing() and outputs.labels.exists() == (moment == "write_percent")
    record = write(outputs, volume)
    assert outputs.state(MADE_BY, IMAGE) == Done(record)
