"""The command: one scan or many, one network or several; what stays, what is made again, what fails."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections import Counter

import nibabel as nib
import numpy as np
import pydicom
import pytest
from support.batches import made_in
from support.dicom_files import save_slices, slices_of
from support.helpers import save
from support.threshold_model import SIZE, striped_hu, write_threshold_model

import kidney_seg
from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.scans import Scan
from data_prep.volume import read_labels, read_volume
from kidney_seg.model.model_file import find_accepted, find_source, load_model
from kidney_seg.predict import engines
from kidney_seg.predict import scans as predict_scans
from kidney_seg.predict.__main__ import main
from kidney_seg.predict.outputs import outputs_beside
from kidney_seg.predict.predictor import make_predictor, predict_volume

pytestmark = pytest.mark.network

KIDNEY = np.s_[1, 11:21, 11:13]  # of `striped_hu`, where nothing else is near


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_threshold_model(tmp_path_factory.mktemp("model") / "best.keras")


@pytest.fixture
def scan(tmp_path):
    return save(tmp_path / "scan.nii.gz", striped_hu()[::-1])


def record(path) -> dict:
    return json.loads(path.read_text())


def errors(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]


def test_one_scan(model, scan, tmp_path, capsys):
    out = tmp_path / "out" / "labels.nii.gz"
    assert main([str(model), str(scan), "--out", str(out), "--probabilities", "--no-postprocess"]) == 0
    image, labels = nib.load(scan), nib.load(out)
    np.testing.assert_allclose(labels.affine, image.affine, atol=1e-6)
    hu, made = (np.asarray(one.dataobj) for one in (image, labels))
    assert made.shape == hu.shape and made.dtype == np.uint8
    np.testing.assert_array_equal(made, np.digitize(hu, (50, 150)))  # two source pixels to one: nothing is lost
    percent = nib.load(out.parent / "tumor_probability" / "labels.nii.gz").get_fdata()
    assert percent.shape == hu.shape and percent.max() > 0.9
    assert (percent[made == 2] > 1 / 3).all() and (percent[made != 2] < 0.5).all()
    told = record(out.parent / "labels.json")
    assert told["made_by"]["models"] == [find_source(model).sha256] and told["engine"] == "keras"
    voxel_ml = abs(np.linalg.det(image.affine)) / 1000
    assert told["volumes_ml"]["tumor"] == pytest.approx((made == 2).sum() * voxel_ml, abs=1e-3)
    assert 0.5 < told["tumor_confidence"] < 1
    assert {"flag", "what"} == set(told["flags"][0])
    assert capsys.readouterr().out.startswith(f"{out}: ")
    assert sorted(path.name for path in out.parent.iterdir()) == ["labels.json", "labels.nii.gz", "tumor_probability"]


def test_both_engines_give_the_same_labels(model, scan, tmp_path):
    for engine in ("keras", "onnx"):
        assert main([str(model), str(scan), "--out", str(tmp_path / f"{engine}.nii.gz"), "--engine", engine]) == 0
    one, other = (np.asarray(nib.load(tmp_path / f"{engine}.nii.gz").dataobj) for engine in ("keras", "onnx"))
    assert one.any()
    np.testing.assert_array_equal(one, other)
    # which engine it was does not matter: nothing is made again
    before = (tmp_path / "keras.nii.gz").stat().st_mtime_ns
    assert main([str(model), str(scan), "--out", str(tmp_path / "keras.nii.gz"), "--engine", "onnx"]) == 0
    assert (tmp_path / "keras.nii.gz").stat().st_mtime_ns == before


def test_every_order_of_axes_gives_labels_on_its_own_grid(model, tmp_path):
    hu = striped_hu(3)
    expected = np.digitize(hu, (50, 150))
    source = find_source(model)
    job = engines.Job((source,), source.config.prediction)
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            # axis a of the file runs along axis order[a] of RAS, forward or backward
            affine = np.zeros((4, 4))
            affine[3, 3] = 1
            for axis, (to, sign) in enumerate(zip(order, signs, strict=True)):
                affine[to, axis] = sign * (1, 1, 3)[to]
            ras = hu.transpose(2, 1, 0)[::-1, ::-1]  # from [z, y, x] in LPS
            stored, truth = (
                np.flip(array.transpose(order), [axis for axis, sign in enumerate(signs) if sign < 0])
                for array in (ras, expected.transpose(2, 1, 0)[::-1, ::-1])
            )
            path = save(tmp_path / "image.nii", np.ascontiguousarray(stored), affine)
            outputs = outputs_beside(tmp_path / "made.nii")
            predict_scans.process_scan(job, Scan("image", path), outputs, force=True)
            made = nib.load(outputs.labels)
            np.testing.assert_array_equal(np.asarray(made.dataobj), truth)
            np.testing.assert_allclose(made.affine, affine, atol=1e-6)


def test_done_is_not_done_again(model, scan, tmp_path, monkeypatch, capsys):
    out = tmp_path / "x.nii.gz"
    command = [str(model), str(scan), "--out", str(out)]
    assert main(command) == 0
    with monkeypatch.context() as patched:
        patched.setattr(engines, "predict_slabs", lambda *args, **options: pytest.fail("predicted again"))
        assert main(command) == 0
        assert "exists, complete and made in the same way; --force computes it again" in capsys.readouterr().out
    before = out.stat().st_mtime_ns
    assert main([*command, "--force"]) == 0 and out.stat().st_mtime_ns > before
    assert main([*command, "--flips", "left_right"]) == 2
    assert errors(capsys) == [
        f"error: {out}: exists, but was made with other settings; choose another --out, or replace it with --force"
    ]
    assert main([*command, "--flips", "left_right", "--zooms", "1,1.25", "--force"]) == 0
    settings = record(tmp_path / "x.json")["made_by"]["settings"]
    assert (settings["flips"], settings["zooms"]) == ("left_right", [1.0, 1.25])
    assert main([*command, "--flips", "left_right", "--zooms", "1,1.25"]) == 0  # is done
    assert main([*command, "--zooms", "1.25"]) == 2
    assert "setting zooms: found (1.25,), expected factors from 0.5 to 2, each once, 1 among them" in errors(capsys)[0]
    save(scan, striped_hu()[::-1] + np.int16(100))  # another image under the same name
    assert main([*command, "--flips", "left_right", "--zooms", "1,1.25"]) == 2
    assert "made with other image" in errors(capsys)[0]


def test_labels_of_nobody_known_are_not_replaced(model, scan, tmp_path, capsys):
    out = save(tmp_path / "mine.nii.gz", np.ones((2, 2, 2), np.uint8))
    before = out.read_bytes()
    assert main([str(model), str(scan), "--out", str(out)]) == 2
    assert len(errors(capsys)) == 1 and out.read_bytes() == before
    assert main([str(model), str(scan), "--out", str(out), "--force"]) == 0
    assert out.read_bytes() != before


def test_a_bad_case_does_not_stop_the_others(model, tmp_path, capsys):
    cases = tmp_path / "cases"
    for number in range(4):
        (cases / f"case_{number:05d}").mkdir(parents=True)
        save(cases / f"case_{number:05d}" / "imaging.nii.gz", striped_hu(3 + number)[::-1])
    image = cases / "case_00001" / "imaging.nii.gz"
    image.write_bytes(image.read_bytes()[:-40])
    out = tmp_path / "out"
    assert main([str(model), str(cases), "--out", str(out)]) == 2
    (line,) = errors(capsys)
    assert "case_00001" in line and "truncated" in line
    done = ["case_00000", "case_00002", "case_00003"]
    files = [f"{name}.{end}" for name in done for end in ("json", "nii.gz")]
    assert sorted(path.name for path in out.iterdir()) == [*files, "failed", "overview.html", "pictures", "summary.csv"]
    assert [path.name for path in (out / "failed").iterdir()] == ["case_00001.json"]
    # mended and run again: only what is missing is made
    before = {out / file: (out / file).stat().st_mtime_ns for file in files}
    save(image, striped_hu(4)[::-1])
    assert main([str(model), str(cases), "--out", str(out)]) == 0
    assert "4 label volumes" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (out / "case_00001.nii.gz").exists() and not (out / "failed").exists()


@pytest.mark.slow
def test_three_shards_at_once_make_the_files_of_one_process(model, scan, tmp_path, capsys):
    cases = tmp_path / "cases"
    for number in range(4):
        (cases / f"case_{number:05d}").mkdir(parents=True)
        save(cases / f"case_{number:05d}" / "imaging.nii.gz", striped_hu(3 + number)[::-1])
    assert main([str(model), str(cases), "--out", str(tmp_path / "one")]) == 0
    command = [sys.executable, "-m", "kidney_seg.predict", str(model), str(cases), "--out", str(tmp_path / "parts")]
    parts = [
        subprocess.Popen([*command, "--shard", f"{index}/3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for index in range(3)
    ]
    told = [part.communicate()[0].splitlines()[-1] for part in parts]
    assert [line.split()[0] for line in told] == ["2", "1", "1"] and not any(part.returncode for part in parts)
    one, many = (made_in(tmp_path / name) for name in ("one", "parts"))
    assert one == many and {"summary.csv", "case_00000.jpg"} <= set(one)
    capsys.readouterr()
    for arguments, words in (
        ([str(cases), "--shard", "3/3"], "expected I/N"),
        ([str(scan), "--shard", "0/3"], "found one scan"),
    ):
        assert main([str(model), *arguments, "--out", str(tmp_path / "x")]) == 2
        (line,) = errors(capsys)
        assert words in line


def test_a_list_with_a_file_that_is_gone(model, scan, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("gone.nii.gz\nscan.nii.gz\n")
    assert main([str(model), f"@{tmp_path / 'list.txt'}", "--out", str(tmp_path / "out")]) == 2
    (line,) = errors(capsys)
    assert "gone.nii.gz" in line
    made = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert made == ["gone.json", "overview.html", "scan.jpg", "scan.json", "scan.nii.gz", "summary.csv"]


def framed(data, k):
    data.FrameOfReferenceUID = data.StudyInstanceUID


def test_a_dicom_series_with_a_segmentation(model, tmp_path, capsys):
    hu = striped_hu(6)
    folder = save_slices(tmp_path / "series", slices_of(hu, change=framed))
    out = tmp_path / "out" / "labels.dcm"
    assert main([str(model), str(folder), "--out", str(out), "--no-postprocess"]) == 0
    image, labels = read_volume(folder), read_labels(out.with_suffix(".nii.gz"))
    assert labels.source.size == image.source.size
    np.testing.assert_allclose(labels.source.origin, image.source.origin, atol=1e-4)
    np.testing.assert_array_equal(labels.voxels, read_labels(out).voxels)
    assert {1, 2} <= set(np.unique(labels.voxels))
    assert (labels.voxels[hu == 200] == 2).mean() > 0.8 and (labels.voxels[hu < 0] == 0).mean() > 0.95
    text = (tmp_path / "out" / "labels.json").read_text()
    assert "DOE" not in text and "MRN" not in text
    assert set(record(tmp_path / "out" / "labels.json")["files"]) == {"labels.nii.gz", "labels.dcm"}
    assert main([str(model), str(folder), "--out", str(out), "--no-postprocess"]) == 0
    assert "exists, complete and made in the same way" in capsys.readouterr().out


def test_an_ensemble_of_files(model, scan, tmp_path, capsys):
    other = write_threshold_model(tmp_path / "other.keras", kidney_hu=110.0)
    labels = {}
    for name, more in {
        "one": [],
        "two": ["--ensemble", str(other)],
        "four": ["--ensemble", *[str(other)] * 3],
    }.items():
        assert main([str(model), str(scan), "--out", str(tmp_path / f"{name}.nii.gz"), "--no-postprocess", *more]) == 0
        labels[name] = read_labels(tmp_path / f"{name}.nii.gz").voxels[KIDNEY]
    # 100 HU: kidney is e^5 : 1 for the one, 1 : e for the other; the mean of .99 and .27 is kidney, with two more not
    assert (labels["one"] == 1).all() and (labels["two"] == 1).all() and (labels["four"] == 0).all()
    assert record(tmp_path / "four.json")["made_by"]["models"] == [
        find_source(path).sha256 for path in (model, other, other, other)
    ]
    strange = write_threshold_model(tmp_path / "strange.keras", "hu_window=0,255")
    assert main([str(model), str(scan), "--out", str(tmp_path / "x.nii.gz"), "--ensemble", str(strange)]) == 2
    (line,) = errors(capsys)
    assert "strange.keras: has hu_window (0.0, 255.0), but" in line


@pytest.fixture
def run(model, tmp_path):
    """A run folder with two accepted rounds and one that is not."""
    root = tmp_path / "run"
    root.mkdir()
    lines = []
    for number, (kidney_hu, accepted) in enumerate(((110.0, True), (0.0, False), (50.0, True))):
        write_threshold_model(root / "best.keras", kidney_hu=kidney_hu)
        (root / "rounds" / f"{number:02d}").mkdir(parents=True)
        weights = root / "rounds" / f"{number:02d}" / "attempt0.weights.h5"
        load_model(root).model.save_weights(weights)
        event = {"event": "round", "round": number, "accepted": accepted}
        lines.append(event | {"weights": str(weights.relative_to(root)), "sha256": sha256_of(weights)})
    (root / "journal.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return root


def test_the_accepted_rounds_of_a_run(run, scan, tmp_path, capsys):
    assert [source.weights.parent.name for source in find_accepted(run)] == ["00", "02"]
    out = tmp_path / "x.nii.gz"
    command = [str(run), str(scan), "--out", str(out), "--ensemble", "accepted", "--no-postprocess"]
    assert main(command) == 0
    assert (read_labels(out).voxels[KIDNEY] == 1).all()  # as by hand in the test above; by the first alone it is not
    predictor = engines.open_predictor(find_accepted(run), find_source(run).config.prediction)
    hu = np.full((1, SIZE, SIZE), 100, np.int16)
    expected = np.mean([1 / (1 + np.exp(1) + np.exp(-5)), 1 / (1 + 2 * np.exp(-5))])
    np.testing.assert_allclose(predictor(hu)[..., 1], expected, atol=1e-3)

    weights = find_accepted(run)[0].weights
    weights.write_bytes(weights.read_bytes()[:-1])
    assert main([*command, "--force"]) == 2
    assert "missing or damaged" in errors(capsys)[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ensemble", "accepted"], "expected a run folder"),
        (["--ensemble", "accepted", "other.keras"], "alone, or further models"),
        (["--ensemble", "gone.keras"], "no such model"),
        (["--dicom-seg"], "is no DICOM series"),
        (["--out", "labels.txt"], "ends in .nii.gz"),
        (["--series", "1"], "only be chosen in a folder"),
    ],
)
def test_refused_in_one_line(model, scan, tmp_path, arguments, words, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out = [] if "--out" in arguments else ["--out", "x.nii.gz"]
    assert main([str(model), str(scan), *out, *arguments]) == 2
    (line,) = errors(capsys)
    assert words in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.nii.gz"]


def test_a_file_in_place_of_the_folder(model, scan, tmp_path, capsys):
    both = [str(shutil.copy(scan, tmp_path / "b.nii.gz")), str(scan)]
    for out, words in (
        (scan, "is one file, found 2 scans (b, scan); give a folder, such as --out"),
        (tmp_path / "new.nii.gz", "is one file, found 2 scans"),
        (tmp_path / "notes.txt", "is a file, expected a folder for the labels of 2 scans"),
    ):
        (tmp_path / "notes.txt").touch()
        assert main([str(model), *both, "--out", str(out)]) == 2
        assert words in errors(capsys)[0]


def test_each_header_of_a_series_is_read_once(model, tmp_path, monkeypatch):
    folder = save_slices(tmp_path / "series", slices_of(striped_hu(6), change=framed))
    reads = Counter()
    dcmread = pydicom.dcmread

    def counting(path, **options):
        reads.update([path] * options.get("stop_before_pixels", False))  # others read the pixels
        return dcmread(path, **options)

    monkeypatch.setattr(pydicom, "dcmread", counting)
    for name in ("labels.nii.gz", "labels.dcm"):
        reads.clear()
        assert main([str(model), str(folder), "--out", str(tmp_path / name), "--force"]) == 0
        assert len(reads) == 6 and set(reads.values()) == {1}


def test_predict_scan_from_python(model, scan, tmp_path):
    out = tmp_path / "labels.nii.gz"
    made = kidney_seg.predict_scan(model, scan, out, postprocess=False)
    image, labels = nib.load(scan), np.asarray(nib.load(out).dataobj)
    np.testing.assert_array_equal(labels, np.digitize(np.asarray(image.dataobj), (50, 150)))
    assert made == record(tmp_path / "labels.json") and made["made_by"]["settings"]["postprocess"] is False
    before = out.stat().st_mtime_ns
    assert kidney_seg.predict_scan(str(model), str(scan), str(out), postprocess=False) == made
    assert out.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="made with other settings") as caught:
        kidney_seg.predict_scan(model, scan, out)
    assert (caught.value.code, caught.value.path) == ("exists", out)
    assert kidney_seg.predict_scan(model, scan, out, force=True)["rule"]["applied"]
    with pytest.raises(InputError, match="setting flips: found 'sideways'"):
        kidney_seg.predict_scan(model, scan, out, flips="sideways")
    for name in ("a", "b"):
        (tmp_path / "cases" / name).mkdir(parents=True)
        shutil.copy(scan, tmp_path / "cases" / name / "imaging.nii.gz")
    with pytest.raises(InputError, match=r"holds 2 scans \(a, b\); expected one: give its file or folder"):
        kidney_seg.predict_scan(model, tmp_path / "cases", out)
    assert kidney_seg.predict_scan(model, tmp_path / "cases" / "a", tmp_path / "a.nii.gz")["labels"] == "a.nii.gz"


def test_from_python(model, scan):
    loaded = load_model(model)
    volume = read_volume(scan)
    labels = predict_volume(make_predictor(loaded.model), volume, loaded.grid)
    np.testing.assert_array_equal(labels, np.digitize(volume.voxels, (50, 150)))
