"""Caches built in parts, by job arrays and by a Dask cluster: the same files as one process makes."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.helpers import content_of, noise_cases, on_a_cluster_that_loses_a_worker, one_line, second_worker_died

from data_prep.build import builder as build_module
from data_prep.build.__main__ import main
from data_prep.build.builder import build
from data_prep.cache.manifest import read_manifest
from data_prep.errors import InputError
from data_prep.files.locks import locked
from data_prep.geometry.network_grid import GridSettings
from data_prep.parallel.shards import Shard, parse

CASES = 14
SETTINGS = GridSettings(256)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_cases(tmp_path_factory.mktemp("cohort") / "data", CASES)


@pytest.fixture(scope="module")
def undisturbed(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    cache = tmp_path_factory.mktemp("undisturbed") / "cache"
    build(cohort, cache, SETTINGS)
    return content_of(cache)


def attributes_of(content: dict[str, bytes]) -> dict[str, dict[str, object]]:
    """Return the attributes of each case's HDF5 file, as plain values; checksums of image and labels are among them."""
    found: dict[str, dict[str, object]] = {}
    for name in (name for name in content if name.endswith(".h5")):
        with h5py.File(io.BytesIO(content[name]), "r") as file:
            found[name] = {key: np.asarray(value).tolist() for key, value in file.attrs.items()}
    return found


def test_every_item_is_in_one_shard() -> None:
    for count in (1, 2, 5, 9):
        parts = [Shard(index, count).pick(range(7)) for index in range(count)]
        assert sorted(item for part in parts for item in part) == list(range(7))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["", "3", "3/3", "-1/3", "0/0", "1/2/3", "a/b", "1 /2", "0/99999999"])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    assert one_line(caught) == f"--shard {text}: expected I/N, I from 0 to below N, such as 0/4"


def test_three_processes_at_once_make_the_files_of_one(
    cohort: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    arguments = [sys.executable, "-m", "data_prep.build", str(cohort), "--cache", str(cache), "--shard"]
    three = [
        subprocess.Popen([*arguments, f"{index}/3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for index in range(3)
    ]
    said = [process.communicate() for process in three]
    assert [process.returncode for process in three] == [0, 0, 0], said
    assert content_of(cache) == undisturbed
    assert any(f"{CASES} cases of {CASES} patients" in printed for printed, _ in said)


def test_the_last_shard_writes_the_manifest_and_what_others_noted_earlier_does_not_count(
    cohort: Path, undisturbed: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    for index in (1, 0):
        assert build(cohort, cache, SETTINGS, shard=Shard(index, 3)).manifest is None
    build(cohort, cache, SETTINGS, shard=Shard(1, 2))  # of another division
    assert not (cache / "manifest.json").exists()
    assert main([str(cohort), "--cache", str(cache), "--size", "256", "--shard", "2/3"]) == 0
    assert content_of(cache) == undisturbed
    again = build(cohort, cache, SETTINGS, shard=Shard(0, 3))
    assert (again.made, again.kept, len(again.manifest.entries)) == (0, 5, CASES)
    changed = build(cohort, cache, GridSettings(128), rebuild=True, shard=Shard(0, 3))
    assert changed.manifest is None and not (cache / "manifest.json").exists()
    capsys.readouterr()
    with locked(cache, "", ".lock-1-of-3"):
        assert main([str(cohort), "--cache", str(cache), "--rebuild", "--shard", "1/3"]) == 2
    assert "another process" in capsys.readouterr().err


def test_a_bad_case_is_its_shards_and_the_others_are_listed(cohort: Path, tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    for number in range(4):
        (source / f"case_{number:05d}").symlink_to(cohort / f"case_{number:05d}")
    (source / "case_00009").mkdir()
    (source / "case_00009" / "imaging.nii.gz").write_bytes(b"damaged")
    results = [build(source, tmp_path / "cache", GridSettings(32), shard=Shard(index, 2)) for index in range(2)]
    assert [len(result.failures) for result in results] == [1, 0]
    assert len(results[1].manifest.entries) == 4


def test_a_task_that_a_cluster_gives_up_costs_its_case_only(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "run", second_worker_died)
    result = build(cohort, tmp_path / "cache", GridSettings(32), scheduler="tcp://node1:8786")
    assert result.failures == [
        "case_00001: its task failed (KilledWorker: 4 times); run again: finished cases are kept"
    ]
    assert len(result.manifest.entries) == CASES - 1
    with pytest.raises(InputError, match="expected 1 with a scheduler"):
        build(cohort, tmp_path / "cache", GridSettings(32), jobs=2, scheduler="tcp://node1:8786")


@pytest.mark.slow
def test_a_cluster_with_a_worker_killed_in_the_middle_makes_the_files_of_one_process(
    cohort: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    command = ["data_prep.build", str(cohort), "--cache", str(cache)]
    code, said = on_a_cluster_that_loses_a_worker(command, lambda: len(list(cache.glob("*.h5"))), 2, CASES)
    assert code == 0, said[-2000:]
    made = content_of(cache)
    assert attributes_of(made) == attributes_of(undisturbed)  # says what differs: image, labels, facts
    assert made == undisturbed
    assert len(read_manifest(cache).entries) == CASES


@pytest.mark.slow
def test_a_scheduler_that_is_none_is_one_line(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed (extra `scale`)")
    from data_prep.parallel import tasks

    monkeypatch.setattr(tasks, "JOIN_SECONDS", 1)
    with pytest.raises(InputError) as caught:
        build(cohort, tmp_path / "cache", SETTINGS, scheduler="tcp://127.0.0.1:9")
    assert "no Dask scheduler answers" in one_line(caught)
