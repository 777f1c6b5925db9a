"""Where memory is short, readers and commands say so: a sound file is not called damaged, nor scored as empty."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
from support.dicom_files import random_hu, save_slices, slices_of
from support.helpers import save

from data_prep.check.__main__ import main as check
from data_prep.cli import run_command
from data_prep.errors import InputError, is_out_of_memory
from data_prep.volume import read_labels, read_volume

MADE = Path(__file__).parent / "made_by_0_1"
WORDS = (
    MemoryError(),
    OSError(12, "Cannot allocate memory"),
    RuntimeError("Exception thrown in SimpleITK: std::bad_alloc"),
    ImportError("x.so: failed to map segment from shared object"),
)


def failing(error: Exception) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


@pytest.fixture
def case(tmp_path: Path) -> Path:
    labels = np.zeros((8, 16, 16), np.uint8)
    labels[2:5, 4:9, 4:9] = 1
    folder = tmp_path / "kits" / "case_00000"
    folder.mkdir(parents=True)
    save(folder / "imaging.nii.gz", labels * np.int16(300) - np.int16(100))
    save(folder / "segmentation.nii.gz", labels)
    return folder


@pytest.mark.parametrize("error", WORDS, ids=lambda error: type(error).__name__)
def test_commands_end_in_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(failing(error)) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: not enough memory; close other programs") and line.count("\n") == 1
    assert not is_out_of_memory(InputError(str(error))) and not is_out_of_memory(OSError(2, "No such file"))


@pytest.mark.parametrize("place", ["numpy.empty", "isal.igzip.open", "data_prep.check.case.survey_image"])
def test_check_calls_no_case_damaged(
    case: Path, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(place, failing(MemoryError()))
    report = case.parent.parent / "report.json"
    assert check([str(case.parent), "--json", str(report)]) == 1
    assert {one["code"] for one in json.loads(report.read_text())["findings"] if one["case"]} == {"no_memory"}
    assert "not checked: not enough memory" in capsys.readouterr().out


def test_check_calls_no_cache_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = shutil.copytree(MADE / "cache", tmp_path / "cache")
    monkeypatch.setattr(h5py.Dataset, "__getitem__", failing(OSError("Can't read data (memory allocation failed)")))
    assert check([str(cache), "--json", str(tmp_path / "report.json")]) == 1
    found = [one["code"] for one in json.loads((tmp_path / "report.json").read_text())["findings"]]
    assert "no_memory" in found and not {"cache_content", "cache_changed"} & set(found)


@pytest.mark.parametrize("place", ["pydicom.dcmread", "numpy.rint"])
def test_dicom(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save_slices(tmp_path / "scan", slices_of(random_hu(3, 8, 8)))
    monkeypatch.setattr(place, failing(MemoryError()))
    with pytest.raises(MemoryError):
        read_volume(tmp_path / "scan")


def test_headers_that_itk_reads(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitk.ImageFileReader, "ReadImageInformation", failing(RuntimeError("std::bad_alloc")))
    with pytest.raises(MemoryError, match=r"imaging\.nii\.gz: not enough memory"):
        read_volume(case / "imaging.nii.gz")


def test_a_prediction_is_not_scored_as_empty(case: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    from kidney_seg.evaluate.__main__ import main as evaluate

    calls: list[Path] = []

    def second_fails(path: Path) -> object:
        calls.append(path)
        return read_labels(path) if len(calls) == 1 else failing(MemoryError())()

    monkeypatch.setattr("kidney_seg.evaluate.label_pair.read_labels", second_fails)
    labels = str(case / "segmentation.nii.gz")
    assert evaluate([labels, labels, "--out", str(tmp_path / "scores")]) == 2
    assert "not enough memory" in capsys.readouterr().err and not list((tmp_path / "scores").glob("*.json"))


def test_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    from kidney_seg.model.model_file import find_source

    monkeypatch.setattr(zipfile.ZipFile, "testzip", failing(MemoryError()))
    with pytest.raises(MemoryError, match=r"best\.keras: not enough memory"):
        find_source(MADE / "run" / "best.keras")


def test_check_under_a_limit_of_the_system(tmp_path: Path) -> None:
    folder = tmp_path / "kits" / "case_00000"
    folder.mkdir(parents=True)
    save(folder / "imaging.nii.gz", np.zeros((64, 1024, 1024), np.int16))  # 128 MiB, of a file of 130 kB
    code = (
        "import resource, sys; from data_prep.check.__main__ import main; import SimpleITK, scipy.ndimage\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), resource.RLIM_INFINITY))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder.parent)], capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "imaging.nii.gz: not checked: not enough memory to read it" in done.stdout and "damaged" not in done.stdout
