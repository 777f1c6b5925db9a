from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.manifests import cohort

from data_prep.cache.manifest import Manifest, write_manifest
from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from data_prep.split.__main__ import main
from data_prep.split.folds import make_folds, write_folds
from data_prep.split.sets import SETS, read_split


@pytest.fixture
def cache(tmp_path: Path) -> Manifest:
    return write_manifest(tmp_path, GridSettings(), list(cohort(20).entries))


@given(st.integers(4, 60), st.integers(2, 8), st.integers(0, 5))
def test_every_patient_is_tested_once(n: int, folds: int, seed: int) -> None:
    if folds > n:
        return
    manifest = cohort(n)
    patients = [entry.patient for entry in manifest.entries]
    splits = make_folds(manifest, folds, seed=seed)
    assert len(splits) == folds
    assert sorted(patient for split in splits for patient in split["test"]) == patients
    sizes = [len(split["test"]) for split in splits]
    assert max(sizes) - min(sizes) <= 1
    for split in splits:
        assert sorted(patient for name in SETS for patient in split[name]) == patients
        assert all(split[name] and split[name] == sorted(split[name]) for name in SETS)


def test_a_hundred_patients_in_five_folds() -> None:
    splits = make_folds(cohort(100), 5)
    for number, split in enumerate(splits):
        assert [len(split[name]) for name in SETS] == [70, 10, 20]  # .7 : .1 of the 80 that are not tested
        assert split["fractions"] == pytest.approx([0.7, 0.1, 0.2])
        assert (split["schema"], split["fold"], split["folds"], split["seed"]) == (2, number, 5, 0)
        assert split["data_sha256"] == cohort(100).data_sha256
    other = make_folds(cohort(100), 5, fractions=(0.4, 0.4, 0.2))
    assert [len(other[0][name]) for name in SETS] == [40, 40, 20]


@pytest.mark.parametrize("seed", range(10))
def test_every_fold_gets_every_stratum_of_tumor_volume(seed: int) -> None:
    manifest = cohort(100)
    by_volume = [e.patient for e in sorted(manifest.entries, key=lambda e: e.tumor_ml)]
    rank = {patient: number for number, patient in enumerate(by_volume)}
    for split in make_folds(manifest, 5, seed=seed):
        # one of every five that are neighbors in volume
        assert sorted(rank[patient] // 5 for patient in split["test"]) == list(range(20))
        for name in SETS:
            assert 0.3 <= np.mean([rank[patient] >= 50 for patient in split[name]]) <= 0.7


def test_the_seed_decides_and_the_order_of_cases_does_not() -> None:
    manifest = cohort(50)
    assert make_folds(manifest, 5, seed=3) == make_folds(replace(manifest, entries=manifest.entries[::-1]), 5, seed=3)
    assert make_folds(manifest, 5, seed=3)[0]["test"] != make_folds(manifest, 5, seed=4)[0]["test"]


@pytest.mark.parametrize(("n", "folds"), [(10, 1), (10, 0), (10, -2), (10, 11), (3, 2)])
def test_impossible_numbers_of_folds_are_refused(n: int, folds: int) -> None:
    with pytest.raises(InputError, match=f"{folds} folds of {n} patients"):
        make_folds(cohort(n), folds)


def test_doubled_images_and_bad_options_are_refused_as_in_a_split() -> None:
    manifest = cohort(20)
    doubled = replace(manifest.entries[1], image_sha256=manifest.entries[0].image_sha256)
    with pytest.raises(InputError, match="same image"):
        make_folds(replace(manifest, entries=(manifest.entries[0], doubled, *manifest.entries[2:])), 5)
    with pytest.raises(InputError, match="sum 1"):
        make_folds(manifest, 5, fractions=(0.9, 0.9, 0.2))
    with pytest.raises(InputError, match="0 or more"):
        make_folds(manifest, 5, seed=-1)


def test_the_files_are_splits_and_two_divisions_never_mix(cache: Manifest) -> None:
    splits = make_folds(cache, 5)
    paths = write_folds(cache, splits)
    assert [path.name for path in paths] == [f"fold{number}.json" for number in range(5)]
    assert [read_split(path, cache) for path in paths] == splits
    times = [path.stat().st_mtime_ns for path in paths]
    paths[3].unlink()  # stopped in between
    write_folds(cache, splits)
    assert [path.stat().st_mtime_ns for path in paths[:3]] == times[:3] and read_split(paths[3], cache) == splits[3]
    names = {"validation": "selection", "data_sha256": "manifest_sha256"}
    old = {names.get(key, key): value for key, value in splits[0].items()} | {"schema": 1}
    paths[0].write_text(json.dumps(old))  # of an earlier version: the same fold
    write_folds(cache, splits)
    assert json.loads(paths[0].read_text()) == old
    for other in (make_folds(cache, 5, seed=1), make_folds(cache, 4)):
        with pytest.raises(InputError, match="--force"):
            write_folds(cache, other)
        assert [read_split(path, cache) for path in paths] == splits
    write_folds(cache, make_folds(cache, 3), force=True)
    assert [json.loads(path.read_text())["folds"] for path in sorted(paths[0].parent.iterdir())] == [3, 3, 3]
    paths[0].write_text("{")
    with pytest.raises(InputError, match="--force"):
        write_folds(cache, make_folds(cache, 3))


def test_the_command_writes_folds_beside_the_split(cache: Manifest, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(cache.root)
    assert main([root, "--folds", "4"]) == 0
    assert not (cache.root / "split.json").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(cache.root / "folds" / "fold0.json") and len(lines) == 4 * 5
    assert sum(int(line.split()[1]) for line in lines if line.startswith("test")) == 20
    assert main([root, "--folds", "4", "--seed", "1"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main([root, "--folds", "40"]) == 2
