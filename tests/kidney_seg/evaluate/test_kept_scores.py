"""Scores made in parts, by job arrays and by a Dask cluster: the same files as one process makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.helpers import on_a_cluster_that_loses_a_worker, second_worker_died
from support.scored import labels, write

from data_prep.parallel.shards import PARTS, Shard
from kidney_seg.evaluate import folders as module
from kidney_seg.evaluate.__main__ import main
from kidney_seg.evaluate.folders import score_parts

CASES = 12


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cases with and without tumor and prediction, one prediction damaged; by relative paths, as users give them."""
    for number in range(CASES):
        write(tmp_path / f"truth/case_{number:05d}/segmentation.nii.gz", labels(60 + number, 40 * (number % 3)))
        if number != 5:
            write(tmp_path / f"predictions/case_{number:05d}.nii.gz", labels(50, 30 + number))
    path = tmp_path / "predictions/case_00001.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    monkeypatch.chdir(tmp_path)
    return ["predictions", "truth", "--postprocess"]


def files_of(out: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(out).iterdir() if path.name != PARTS}


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
def test_three_processes_at_once_make_the_files_of_one(folders: list[str]) -> None:
    assert main([*folders, "--out", "one"]) == 2  # the damaged prediction
    command = [sys.executable, "-m", "kidney_seg.evaluate", *folders, "--out", "parts", "--shard"]
    three = [
        subprocess.Popen([*command, f"{index}/3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for index in range(3)
    ]
    said = [process.communicate() for process in three]
    assert any("wrote parts/scores.json" in printed for printed, _ in said), said
    assert three[1].returncode == 2  # whose prediction it is
    assert files_of("parts") == files_of("one")


def test_the_last_part_writes_and_what_was_noted_of_other_files_or_rules_does_not_count(
    folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("predictions/case_00001.nii.gz").unlink()
    assert main([*folders, "--out", "parts", "--shard", "0/2"]) == 0
    assert "shard 0/2 is done (6 scored, 0 kept, 0 failed)" in capsys.readouterr().out
    write(Path("predictions/case_00002.nii.gz"), labels(70))  # of shard 0/2, after it was scored
    (Path("parts") / PARTS / "case_00004.json").write_text("[")
    assert main([*folders, "--out", "parts", "--shard", "1/2"]) == 0
    assert files_of("parts") == {}
    assert main([*folders, "--out", "parts", "--shard", "0/2"]) == 0
    assert main([*folders, "--out", "one"]) == 0
    assert files_of("parts") == files_of("one")
    again = score_parts("predictions", "truth", "parts", shard=Shard(4, 5), distance_mm=20.0, jobs=2)
    assert (again.made, again.kept, len(again.evaluation.rows)) == (0, 2, CASES)
    other = score_parts("predictions", "truth", "parts", shard=Shard(4, 5), distance_mm=30.0)
    assert (other.made, other.kept, other.evaluation) == (2, 0, None)


def test_a_truth_that_cannot_be_read_does_not_stop_the_others(
    folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    truth = Path("truth/case_00003/segmentation.nii.gz")
    whole = truth.read_bytes()
    truth.write_bytes(b"no")
    assert main([*folders, "--out", "parts", "--shard", "0/1"]) == 2
    told = capsys.readouterr()
    assert f"({CASES - 1} scored, 0 kept, 1 failed)" in told.out
    first, second = [line for line in told.err.splitlines() if line.startswith("error: ")]
    assert first.startswith(f"error: {truth}: ") and "case_00001.nii.gz" in second and "as empty" in second
    assert files_of("parts") == {}
    truth.write_bytes(whole)
    again = score_parts("predictions", "truth", "parts", distance_mm=20.0)
    assert (again.made, again.kept, len(again.unreadable)) == (1, CASES - 1, 1)
    assert main([*folders, "--out", "parts", "--shard", "0/1"]) == main([*folders, "--out", "one"]) == 2
    assert files_of("parts") == files_of("one")


def test_a_task_that_a_cluster_gives_up_costs_its_case_only(
    folders: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "run", second_worker_died)
    assert main([*folders, "--out", "parts", "--scheduler", "tcp://node1:8786"]) == 2
    assert errors(capsys) == [
        "error: case_00001: its task failed (KilledWorker: 4 times); run again: scored cases are kept"
    ]
    assert len(list((Path("parts") / PARTS).iterdir())) == CASES - 1


def test_what_goes_not_in_parts_is_one_line(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["--shard", "3/3"], "expected I/N"),
        (["--scheduler", "tcp://node1:8786", "--jobs", "2"], "expected 1 with a scheduler"),
        (["--shard", "0/3", "--against", "predictions"], "give their scores.json"),
    ):
        assert main([*folders, "--out", "parts", *arguments]) == 2
        (line,) = errors(capsys)
        assert words in line
    assert not Path("parts").exists()


@pytest.mark.slow
def test_a_cluster_with_a_worker_killed_in_the_middle_makes_the_files_of_one_process(folders: list[str]) -> None:
    assert main([*folders, "--out", "one"]) == 2
    notes = Path("parts") / PARTS
    command = ["kidney_seg.evaluate", *folders, "--out", "parts"]
    code, said = on_a_cluster_that_loses_a_worker(command, lambda: len(list(notes.glob("case_*"))), 2, CASES)
    assert code == 2, said[-2000:]
    assert files_of("parts") == files_of("one")
    assert json.loads(Path("parts/scores.json").read_text())["missing"] == ["case_00005"]
    assert not list(notes.glob(".tmp-*"))
