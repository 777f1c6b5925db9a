"""Every command with every kind of bad path: one line, exit code 2, nothing written, inputs as they were."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.full_disk import full_after
from support.helpers import save

from data_prep.build.__main__ import main as build
from data_prep.check.__main__ import main as check
from data_prep.dicom.__main__ import main as dicom
from data_prep.download.__main__ import main as download
from data_prep.phantom.__main__ import main as phantom
from data_prep.split.__main__ import main as split
from kidney_seg.compare import main as compare
from kidney_seg.evaluate.__main__ import main as evaluate
from kidney_seg.export.__main__ import main as export
from kidney_seg.model.__main__ import main as model
from kidney_seg.postprocess.__main__ import main as postprocess
from kidney_seg.predict.__main__ import main as predict
from kidney_seg.progressive.__main__ import main as progressive
from kidney_seg.report.__main__ import main as report
from kidney_seg.serving.__main__ import main as serving
from kidney_seg.threshold import main as threshold
from kidney_seg.watch import main as watch

MADE = Path(__file__).parent / "made_by_0_1"
Main = Callable[[list[str]], int]

# Words of each command: {bad}: the path that cannot be used, with an ending that the command takes; {root}: the inputs.
OUTPUTS: dict[str, tuple[Main, str, str]] = {
    "check --json": (check, "{root}/kits --json {bad}", ".json"),
    "build --cache": (build, "{root}/kits --cache {bad}", ""),
    "phantom --out": (phantom, "--out {bad} --cases 1 --size 32 --slices 8", ""),
    "postprocess --out": (postprocess, "{root}/labels.nii.gz --out {bad} --force", ".nii.gz"),
    "postprocess --out .nii": (postprocess, "{root}/labels.nii.gz --out {bad} --force", ".nii"),
    "postprocess --surfaces": (postprocess, "{root}/labels.nii.gz --out {bad} --force --surfaces stl", ".nii.gz"),
    "postprocess --json": (postprocess, "{root}/labels.nii.gz --out {root}/new.nii --json {bad} --force", ".json"),
    "evaluate --out": (evaluate, "{root}/labels.nii.gz {root}/labels.nii.gz --out {bad} --force", ""),
    "predict --out": (predict, "{root}/run {root}/scan.nii.gz --out {bad} --force", ".nii.gz"),
    "report --out": (report, "{root}/run --out {bad}", ".html"),
    "compare --json": (compare, "{root}/run --json {bad}", ".json"),
    "compare --figure": (compare, "{root}/run --figure {bad}", ".png"),
    "threshold --json": (threshold, "{root}/run --json {bad}", ".json"),
    "threshold --figure": (threshold, "{root}/run --figure {bad}", ".svg"),
    "model --figure": (model, "--figure {bad}", ".pdf"),
    "check --cache": (check, "{root}/kits --cache {bad}", ""),
    "predict --out .dcm": (predict, "{root}/run {root}/scan.nii.gz --out {bad} --force", ".dcm"),
    "progressive --out": (progressive, "--data {root}/cache --out {bad} --set size=32", ""),
    "export --out": (export, "{root}/run --out {bad}", ""),
    "export --out .onnx": (export, "{root}/run --format onnx --out {bad} --force", ".onnx"),
    "download --out": (download, "kits23 --cases 0 --accept-license --mirror file://{root}/kits --out {bad}", ""),
    "predict --out folder": (predict, "{root}/run {root}/kits --out {bad}", ""),
    "serving --out": (serving, "localhost:1 {root}/scan.nii.gz --out {bad} --force", ".nii.gz"),
}
INPUTS: dict[str, tuple[Main, str, str]] = {
    "check": (check, "{bad}", ""),
    "build": (build, "{bad} --cache {root}/new", ""),
    "split": (split, "{bad}", ""),
    "dicom": (dicom, "{bad}", ""),
    "phantom --labels": (phantom, "--labels {bad} --out {root}/new", ""),
    "postprocess": (postprocess, "{bad} --out {root}/new.nii.gz", ".nii.gz"),
    "evaluate": (evaluate, "{bad} {root}/labels.nii.gz --out {root}/new", ".nii.gz"),
    "evaluate truth": (evaluate, "{root}/labels.nii.gz {bad} --out {root}/new", ".nii.gz"),
    "evaluate --split": (evaluate, "{root}/labels.nii.gz {root}/labels.nii.gz --split {bad} --out {root}/new", ".json"),
    "evaluate --against": (evaluate, "{root}/labels.nii.gz {root}/labels.nii.gz --against {bad}", ".json"),
    "predict": (predict, "{root}/run {bad} --out {root}/new.nii.gz", ".nii.gz"),
    "predict model": (predict, "{bad} {root}/scan.nii.gz --out {root}/new.nii.gz", ".keras"),
    "predict @list": (predict, "{root}/run @{bad} --out {root}/new", ".txt"),
    "predict --split": (predict, "{root}/run {root}/kits --split {bad} --out {root}/new", ".json"),
    "report": (report, "{bad}", ""),
    "compare": (compare, "{bad}", ""),
    "threshold": (threshold, "{bad}", ""),
    "watch": (watch, "{bad}", ""),
    "phantom --without": (phantom, "--without {bad} --out {root}/new", ""),
    "check --images": (check, "{root} --images {bad}/{{case}}.nii.gz", ""),
    "build --images": (build, "{root} --images {bad}/{{case}}.nii.gz --cache {root}/new", ""),
    "model": (model, "{bad}", ".keras"),
    "progressive --data": (progressive, "--data {bad} --out {root}/new", ""),
    "progressive --split": (progressive, "--data {root}/cache --split {bad} --out {root}/new --set size=32", ".json"),
    "progressive --reproduce": (progressive, "--reproduce {bad} --out {root}/new", ".json"),
    "progressive --pretrained": (progressive, "--data {root}/cache --pretrained {bad} --out {root}/new", ".keras"),
    "report --truth": (report, "{root}/run --truth {bad} --out {root}/new.html", ""),
    "report --predictions": (report, "{root}/run --predictions {bad} --out {root}/new.html", ""),
    "threshold --data": (threshold, "{root}/run --data {bad}", ""),
    "threshold --split": (threshold, "{root}/run --data {root}/cache --split {bad}", ".json"),
    "predict --ensemble": (predict, "{root}/run {root}/scan.nii.gz --ensemble {bad} --out {root}/new.nii.gz", ".keras"),
    "export": (export, "{bad} --out {root}/new", ".keras"),
    "export --ensemble": (export, "{root}/run --ensemble {bad} --out {root}/new", ".keras"),
    "serving input": (
        serving,
        "localhost:1 {bad} --out {root}/new.nii --retries 0 --config {root}/config.json",
        ".nii",
    ),
    "serving --check": (serving, "--check {bad}", ""),
    "serving --check .onnx": (serving, "--check {bad} --model {root}/run", ".onnx"),
    "serving --model": (serving, "--check {root}/mine.onnx --model {bad}", ".keras"),
    "serving --ensemble": (serving, "--check {root}/mine.onnx --model {root}/run --ensemble {bad}", ".keras"),
    "download --mirror": (download, "kits23 --cases 0 --accept-license --out {root}/new --mirror file://{bad}", ""),
    "progressive --config": (progressive, "--data {root}/cache --out {root}/new --config {bad}", ".json"),
    "report --images": (report, "{root}/run --truth {root}/kits --images {bad} --out {root}/new.html", ""),
    "serving --config": (serving, "localhost:1 {root}/scan.nii.gz --out {root}/new.nii --config {bad}", ".json"),
}
KINDS = (
    *("dead link", "loop", "file as folder", "long name", "long folder", "pipe", "device"),
    *("folder", "input", "foreign"),
)
IS_FOLDER = (
    *("build --cache", "phantom --out", "evaluate --out", "check --cache", "progressive --out", "export --out"),
    *("download --out", "predict --out folder"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("paths")
    case = root / "kits" / "case_00000"
    case.mkdir(parents=True)
    labels = np.zeros((6, 16, 16), np.uint8)
    labels[2:4, 4:9, 4:9] = 1
    for path in (root / "scan.nii.gz", case / "imaging.nii.gz"):
        save(path, np.int16(300) * labels - np.int16(100))
    for path in (root / "labels.nii.gz", case / "segmentation.nii.gz"):
        save(path, labels)
    shutil.copytree(MADE / "run", root / "run")
    shutil.copytree(MADE / "cache", root / "cache")
    shutil.copy(MADE / "run" / "config.json", root / "config.json")
    (root / "dead").symlink_to(root / "gone")
    (root / "loop").symlink_to(root / "loop")
    (root / "file").write_text("mine")
    return root


def bad_path(root: Path, kind: str, ending: str) -> Path:
    if kind == "foreign":
        path = root / f"mine{ending}"
        path.write_text("mine")
        return path
    places = {
        "dead link": f"dead/x{ending}",
        "loop": f"loop/x{ending}",
        "file as folder": f"file/x{ending}",
        "long name": "n" * 300 + ending,
        "long folder": "n" * 300 + f"/x{ending}",
        "folder": "folder" + ending,
        "missing": "absent" + ending,
        "missing, not UTF-8": os.fsdecode(b"M\xfcller") + ending,
        "input": "scan.nii.gz",
        "pipe": "pipe" + ending,
        "device": "device" + ending,
    }
    if kind == "pipe" and not (root / places[kind]).exists():
        os.mkfifo(root / places[kind])
    if kind == "device" and not (root / places[kind]).exists():
        (root / places[kind]).symlink_to("/dev/zero")
    if kind == "folder":
        (root / places[kind]).mkdir(exist_ok=True)
    return root / places[kind]


def content(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """End a test that waits for a pipe, or reads a device that never ends."""

    def ended(*_: object) -> None:
        raise TimeoutError("a path is read for ever")

    before = signal.signal(signal.SIGALRM, ended)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(main: Main, words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", OUTPUTS)
def test_outputs(root: Path, command: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    main, words, ending = OUTPUTS[command]
    if kind == "folder" and command in IS_FOLDER:
        pytest.skip("a folder is what this command writes")
    bad = bad_path(root, kind, ending)
    before = content(root)
    refused(main, words.format(root=root, bad=bad), capsys)
    assert content(root) == before
    bad.unlink() if kind == "foreign" else None


@pytest.mark.parametrize("kind", ("missing", "missing, not UTF-8", "folder", *KINDS[:-3]))
@pytest.mark.parametrize("command", INPUTS)
def test_inputs(root: Path, command: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    main, words, ending = INPUTS[command]
    if kind == "folder" and command in ("check --images", "download --mirror"):
        pytest.skip("an empty folder holds no case: exit code 1")
    before = content(root)
    refused(main, words.format(root=root, bad=bad_path(root, kind, ending)), capsys)
    assert content(root) == before


def test_scans_are_not_replaced_by_their_labels(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat = root / "flat"
    flat.mkdir()
    for name in ("a.nii.gz", "b.nii.gz"):
        shutil.copy(root / "scan.nii.gz", flat / name)
    before = content(root)
    for words in ("--images {case}.nii.gz", ""):
        error = refused(predict, f"{root}/run {flat} {words} --out {flat} --force", capsys)
        assert "is an input, which is never written over" in error
    assert content(root) == before


WRITES_ON = {  # what stays of a full disk: whole files that were written before, a download's part to go on with
    "postprocess --surfaces": {"x.nii.gz"},  # labels come first
    "phantom --out": {"phantom.json"},
    "evaluate --out": {"cases.csv"},
    "build --cache": {".lock"},
    "download --out": {".lock", ".part-imaging.nii.gz", ".part-imaging.nii.gz.json", "segmentation.nii.gz"},
}
UNPACKS = ("predict --out", "predict --out folder", "export --out", "export --out .onnx")  # a model, before all else
FULL = ("check --json", "postprocess --out .nii", "model --figure", *WRITES_ON, *UNPACKS)


@pytest.mark.parametrize("command", FULL)
def test_a_full_disk(root: Path, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main, words, ending = OUTPUTS[command]
    place = tmp_path / "new"
    with full_after(200 if command == "download --out" else 700):
        assert main(words.format(root=root, bad=place / f"x{ending}").split()) == 2
    (line,) = [part for part in capsys.readouterr().err.splitlines() if "error: " in part]
    assert os.strerror(27) in line and "free some space" in line
    assert (tempfile.gettempdir() if command in UNPACKS else str(place)) in line
    assert {path.name for path in place.rglob("*") if path.is_file()} <= WRITES_ON.get(command, set())
