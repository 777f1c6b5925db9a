"""Every command: help at once, bad input in one line with exit code 2."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from support.commands import HEAVY

from data_prep.build import __main__ as build
from data_prep.phantom import __main__ as phantom
from data_prep.phantom.cohort import write_cohort
from data_prep.split import __main__ as split
from kidney_seg.progressive import __main__ as progressive

COMMANDS = (
    "data_prep.build",
    "data_prep.check",
    "data_prep.dicom",
    "data_prep.label_table",
    "data_prep.phantom",
    "data_prep.split",
    "kidney_seg.app",
    "kidney_seg.compare",
    "kidney_seg.evaluate",
    "kidney_seg.export",
    "kidney_seg.model",
    "kidney_seg.postprocess",
    "kidney_seg.predict",
    "kidney_seg.progressive",
    "kidney_seg.threshold",
    "kidney_seg.report",
    "kidney_seg.serving",
    "kidney_seg.watch",
)


@pytest.mark.parametrize("module", COMMANDS)
def test_help_loads_nothing_heavy(module):
    code = (
        f"import sys, runpy; sys.argv = ['{module}', '--help']\n"
        f"try: runpy.run_module('{module}', run_name='__main__', alter_sys=True)\n"
        f"except SystemExit as end: print('exit', end.code, [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith(f"usage: python -m {module}"), done.stderr
    assert done.stdout.strip().endswith("exit 0 []")


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohort") / "patients"
    write_cohort(root, cases=3, size=32, slices=8)
    return root


@pytest.fixture
def damaged(patients, tmp_path):
    """A copy of the cohort to be damaged; the first case is the one."""
    root = tmp_path / "patients"
    shutil.copytree(patients, root)
    return root, root / "case_00000"


def one_line(capsys, *words: str) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, lines
    assert all(word in lines[0] for word in words), lines[0]
    return lines[0]


def rewrite(path, change):
    """Change a NIfTI file's voxels ([z, y, x] as SimpleITK's arrays go), keeping its geometry."""
    image = sitk.ReadImage(str(path))
    made = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
    made.SetSpacing(image.GetSpacing())
    made.SetOrigin(image.GetOrigin())
    made.SetDirection(image.GetDirection())
    sitk.WriteImage(made, str(path))


def with_value(value, dtype):
    def change(array):
        array = array.astype(dtype)
        array[0, 0, 0] = value
        return array

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda case: (case / "imaging.nii.gz").write_bytes(b""), "empty"),
        (lambda case: (case / "imaging.nii.gz").write_bytes(b"no image at all"), "imaging.nii.gz"),
        (
            lambda case: (case / "imaging.nii.gz").write_bytes((case / "imaging.nii.gz").read_bytes()[:-500]),
            "truncated",
        ),
        (lambda case: rewrite(case / "segmentation.nii.gz", lambda array: array[:-1]), "(8, 32, 31) voxels"),
        (lambda case: rewrite(case / "segmentation.nii.gz", with_value(4, np.uint8)), "label values 4"),
        (lambda case: rewrite(case / "segmentation.nii.gz", with_value(0.5, np.float32)), "label values 0.5"),
        (lambda case: rewrite(case / "imaging.nii.gz", with_value(np.nan, np.float32)), "NaN"),
    ],
    ids=["empty file", "no image", "truncated", "other shape", "label 4", "label 0.5", "NaN"],
)
def test_build_names_a_bad_case_and_builds_the_others(damaged, damage, words, tmp_path, capsys):
    root, case = damaged
    damage(case)
    assert build.main([str(root), "--cache", str(tmp_path / "cache"), "--size", "32"]) == 2
    one_line(capsys, "case_00000", words)
    manifest = json.loads((tmp_path / "cache" / "manifest.json").read_text())
    assert [entry["case"] for entry in manifest["cases"]] == ["case_00001", "case_00002"]
    assert not list((tmp_path / "cache").glob(".tmp-*"))


def test_build_refuses(patients, tmp_path, capsys):
    cache = str(tmp_path / "cache")
    (tmp_path / "nothing").mkdir()
    assert build.main([str(tmp_path / "nothing"), "--cache", cache]) == 2
    one_line(capsys, "nothing", "no case")
    assert build.main([str(patients), "--cache", cache, "--size", "100"]) == 2
    one_line(capsys, "100", "multiple of 16")
    assert not (tmp_path / "cache").exists()


def test_caches_of_another_schema_or_size_are_refused(patients, tmp_path, capsys):
    cache = tmp_path / "cache"
    assert build.main([str(patients), "--cache", str(cache), "--size", "32"]) == 0
    assert split.main([str(cache)]) == 0
    capsys.readouterr()
    run = str(tmp_path / "run")
    assert progressive.main(["--data", str(cache), "--out", run]) == 2  # the paper's preset has 256
    one_line(capsys, "32 pixels", "--set size=32")
    manifest = json.loads((cache / "manifest.json").read_text())
    (cache / "manifest.json").write_text(json.dumps(manifest | {"schema": 99}))
    assert progressive.main(["--data", str(cache), "--out", run, "--set", "size=32"]) == 2
    one_line(capsys, "schema 99")
    assert not (tmp_path / "run").exists()


def test_settings_are_checked_before_anything_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments, words in (
        (["--set", "stpes=3"], "did you mean 'steps'"),
        (["--set", "size=100"], "multiple of 16"),
        (["--seed", "-1"], "expected 0 to 4000000"),
        (["--seed", "5000000"], "expected 0 to 4000000"),
        (["--data", "absent"], "absent"),
    ):
        assert progressive.main(arguments) == 2
        one_line(capsys, words)
    assert list(tmp_path.iterdir()) == []


def test_show_settings(capsys):
    assert progressive.main(["--preset", "paper", "--show-settings", "--set", "alpha=0.6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:4] == ["*", "loss.alpha", "0.6", "weight"] for line in lines)
    assert any(line.split()[:2] == ["loss.head_weights", "0.2,0.2,0.2,0.4"] for line in lines)


def test_phantom_refuses_a_folder_of_other_things(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert phantom.main(["--out", str(tmp_path), "--cases", "1"]) == 2
    one_line(capsys, str(tmp_path))
