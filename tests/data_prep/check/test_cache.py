from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.helpers import write_cache

from data_prep.check.__main__ import main
from data_prep.check.cache import check_cache, is_cache
from data_prep.files.checksums import sha256_of
from data_prep.files.json_files import write_json
from data_prep.split.sets import make_split, write_split


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of four patients with its split."""
    root = tmp_path_factory.mktemp("cache")
    rng = np.random.default_rng(0)
    cases = {}
    for number in range(4):
        label = np.zeros((3, 16, 16), np.uint8)
        label[1, 2 : 4 + number, 2:8] = 1
        label[1, 2, 2:4] = 2
        cases[f"case_{number:05}"] = (rng.integers(-1000, 1000, (3, 16, 16)).astype(np.int16), label)
    manifest = write_cache(root, cases)
    write_split(manifest, make_split(manifest))
    return root


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "cache"))


def edit(root: Path, name: str, change: Callable[[dict], object]) -> None:
    content = json.loads((root / name).read_text())
    change(content)
    write_json(root / name, content)


def set_entry(root: Path, **values: object) -> None:
    edit(root, "manifest.json", lambda content: content["cases"][1].update(values))


def rewrite(root: Path, change: Callable[[h5py.File], object]) -> None:
    """Change a case's file and its checksum in the manifest, as a build with a defect would."""
    with h5py.File(root / "case_00001.h5", "r+") as file:
        change(file)
    set_entry(root, sha256=sha256_of(root / "case_00001.h5"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_sound_cache_ends_with_0(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert is_cache(root)
    assert main([str(root), "--json", str(tmp_path / "report.json")]) == 0
    assert capsys.readouterr().out == f"{root}: 4 cases without problems\n"
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["kind"] == "cache" and content["cases"]["case_00002"] == {"file": "case_00002.h5", "slices": 3}


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "absent file": (lambda root: (root / "case_00001.h5").unlink(), "case_00001", "cache_missing"),
    "folder for a file": (
        lambda root: [(root / "case_00001.h5").unlink(), (root / "case_00001.h5").mkdir()],
        "case_00001",
        "cache_missing",
    ),
    "one bit": (lambda root: flip(root / "case_00001.h5"), "case_00001", "cache_changed"),
    "empty file": (lambda root: (root / "case_00001.h5").write_bytes(b""), "case_00001", "cache_changed"),
    "truncated": (
        lambda root: (root / "case_00001.h5").write_bytes((root / "case_00001.h5").read_bytes()[:-9]),
        "case_00001",
        "cache_changed",
    ),
    "another case's file": (
        lambda root: shutil.copy(root / "case_00000.h5", root / "case_00001.h5"),
        "case_00001",
        "cache_changed",
    ),
    "no image": (lambda root: rewrite(root, lambda file: file.pop("image")), "case_00001", "cache_content"),
    "label lost": (lambda root: rewrite(root, lambda file: file.pop("label")), "case_00001", "cache_content"),
    "other pixels": (
        lambda root: rewrite(root, lambda file: file["label"].__setitem__((0, 0, 0), 2)),
        "case_00001",
        "cache_content",
    ),
    "more slices": (lambda root: set_entry(root, slices=4), "", "bad_manifest"),
    "case twice": (lambda root: set_entry(root, case="case_00002"), "case_00002", "cache_twice"),
    "same image": (lambda root: set_entry(root, image_sha256="case_00003"), "case_00001", "same_image"),
    "unlisted file": (lambda root: shutil.copy(root / "case_00001.h5", root / "x.h5"), "", "unlisted_file"),
    "leftover": (lambda root: (root / ".tmp-7-case_00001.h5").write_bytes(b"half"), "", "leftover"),
    "no manifest": (lambda root: (root / "manifest.json").unlink(), "", "bad_manifest"),
    "half a manifest": (lambda root: (root / "manifest.json").write_text('{"schema": 2,'), "", "bad_manifest"),
    "manifest of another form": (
        lambda root: edit(root, "manifest.json", lambda content: content.update(cases=[7])),
        "",
        "bad_manifest",
    ),
    "manifest of another schema": (
        lambda root: edit(root, "manifest.json", lambda content: content.update(schema=99)),
        "",
        "bad_manifest",
    ),
    "file outside": (lambda root: set_entry(root, file="../secret.h5"), "", "bad_manifest"),
    "no split": (lambda root: (root / "split.json").unlink(), "", "no_split"),
    "split of a patient unknown": (
        lambda root: edit(root, "split.json", lambda content: content["test"].append("x")),
        "",
        "bad_split",
    ),
    "split of a patient twice": (
        lambda root: edit(root, "split.json", lambda content: content["test"].extend(content["train"])),
        "",
        "bad_split",
    ),
    "split without a patient": (
        lambda root: edit(root, "split.json", lambda content: content["train"].pop()),
        "",
        "bad_split",
    ),
    "split of another form": (
        lambda root: edit(root, "split.json", lambda content: content.update(test=[[1]])),
        "",
        "bad_split",
    ),
    "fold of a patient unknown": (
        lambda root: [
            (root / "folds").mkdir(),
            shutil.copy(root / "split.json", root / "folds" / "fold0.json"),
            edit(root, "folds/fold0.json", lambda content: content["test"].append("x")),
        ],
        "",
        "bad_split",
    ),
    "split not JSON": (lambda root: (root / "split.json").write_text("{"), "", "bad_split"),
}


@pytest.mark.parametrize("way", DAMAGES)
def test_every_damage_is_named(root: Path, way: str) -> None:
    damage, case, code = DAMAGES[way]
    damage(root)
    assert is_cache(root)
    report = check_cache(root)
    assert (case, code) in {(one.case, one.code) for one in report.findings}, report
    assert report.exit_code == int(code not in ("leftover", "no_split"))
    others = {one.case for one in report.findings} - {case, ""}
    assert others <= ({"case_00003"} if code == "same_image" else set())


def test_names_of_a_manifest_cannot_inject(root: Path, capsys: pytest.CaptureFixture) -> None:
    set_entry(root, case="<b>\x1b[31m\n", sha256="0" * 64)
    assert main([str(root)]) == 1
    out = capsys.readouterr().out
    assert "\\x3cb\\x3e\\x1b[31m\\n" in out and out.replace("\n", "").isprintable()
