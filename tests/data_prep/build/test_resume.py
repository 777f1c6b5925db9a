from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.helpers import save

from data_prep.build import builder as build_module
from data_prep.build.__main__ import main
from data_prep.build.builder import build
from data_prep.cache.manifest import read_manifest, verify, write_manifest
from data_prep.datasets.kits import find_cases
from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings

SETTINGS = GridSettings(16)


def write_image(root: Path, name: str, seed: int) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    save(root / name / "imaging.nii.gz", np.random.default_rng(seed).integers(0, 99, (3, 32, 32)).astype(np.int16))


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    for number in range(3):
        write_image(tmp_path / "data", f"case_{number:05d}", number)
    return tmp_path / "data"


@pytest.fixture
def cache(cohort: Path, tmp_path: Path) -> Path:
    build(cohort, tmp_path / "cache", SETTINGS)
    return tmp_path / "cache"


def to_schema(path: Path, schema: int) -> None:
    if path.suffix == ".json":
        path.write_text(json.dumps({**json.loads(path.read_text()), "schema": schema}))
    else:
        with h5py.File(path, "a") as file:
            file.attrs["schema"] = schema


def test_a_case_of_an_older_schema_is_made_again_alone(cohort: Path, cache: Path) -> None:
    before = read_manifest(cache)
    to_schema(cache / "case_00001.h5", 2)
    result = build(cohort, cache, SETTINGS)
    assert (result.made, result.kept) == (1, 2)
    assert result.manifest == before


def test_a_cache_of_an_older_schema_is_remade_and_says_so(cohort: Path, cache: Path) -> None:
    before = read_manifest(cache)
    for path in (*cache.glob("*.h5"), cache / "manifest.json"):
        to_schema(path, 2)
    result = build(cohort, cache, SETTINGS)
    assert (result.made, result.kept) == (3, 0) and result.manifest == before
    assert result.problems[-1].endswith("manifest.json: has schema 2, an older one: its cases are built again")


def test_an_older_schema_does_not_excuse_other_settings(cohort: Path, cache: Path) -> None:
    for path in (*cache.glob("*.h5"), cache / "manifest.json"):
        to_schema(path, 1)
    with pytest.raises(InputError, match="was made with size 16, not size 32"):
        build(cohort, cache, GridSettings(32))


@pytest.mark.parametrize("name", ["manifest.json", "case_00001.h5"])
def test_a_newer_schema_is_left_alone(cohort: Path, cache: Path, name: str) -> None:
    to_schema(cache / name, 99)
    before = {path: path.read_bytes() for path in cache.iterdir() if path.name != ".lock"}
    for rebuild in (False, True):
        with pytest.raises(InputError, match=f"{name}: cache of schema 99"):
            build(cohort, cache, SETTINGS, rebuild=rebuild)
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"schema": 3, "cases": [{"case": "x"}]}', '{"schema": 2}'])
@pytest.mark.parametrize("name", ["manifest.json", "sources.json"])
def test_a_damaged_list_is_made_anew(cohort: Path, cache: Path, name: str, text: str) -> None:
    before = read_manifest(cache)
    (cache / name).write_text(text)
    result = build(cohort, cache, SETTINGS)
    assert (result.made, result.kept) == (0, 3) and result.manifest == before
    assert len(result.problems) == 4 and name in result.problems[-1]  # 3 of them: no labels


def test_other_settings_are_remade_on_demand_and_a_stop_in_between_goes_on(
    cohort: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(cohort), "--cache", str(cache), "--size", "32"]
    assert main(arguments) == 2
    assert "--rebuild" in capsys.readouterr().err

    def stopped(task):
        if task.case.name == "case_00001":
            raise KeyboardInterrupt
        return build_case(task)

    build_case = build_module.build_case
    monkeypatch.setattr(build_module, "build_case", stopped)
    assert main([*arguments, "--rebuild"]) == 130
    monkeypatch.undo()
    assert not (cache / "manifest.json").exists()  # neither the old nor the new cache
    for size in (16, 32):
        with pytest.raises(InputError, match="--rebuild"):
            build(cohort, cache, GridSettings(size))
    result = build(cohort, cache, GridSettings(32), rebuild=True)
    assert (result.made, result.kept) == (2, 1)
    fresh = build(cohort, tmp_path / "fresh", GridSettings(32))
    assert fresh.manifest.sha256 == result.manifest.sha256


def test_another_source_is_remade_on_demand_only(cohort: Path, cache: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "other", "case_00000", seed=9)
    with pytest.raises(InputError, match="holds another image as case_00000"):
        build(tmp_path / "other", cache, SETTINGS)
    assert len(read_manifest(cache).entries) == 3
    result = build(tmp_path / "other", cache, SETTINGS, rebuild=True)
    assert [entry.image_path for entry in result.manifest.entries] == [
        str(tmp_path / "other" / "case_00000" / "imaging.nii.gz")
    ]


def test_new_facts_of_a_case_remake_it_alone(cohort: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(root, *patterns):
        cases, problems = find_cases(root)
        return [cases[0], replace(cases[1], metadata={"age": 61}), replace(cases[2], patient="case_00001")], problems

    monkeypatch.setattr(build_module, "find_cases", find)
    result = build(cohort, cache, SETTINGS)
    assert (result.made, result.kept) == (2, 1)
    assert [entry.metadata for entry in result.manifest.entries] == [None, {"age": 61}, None]
    assert [entry.patient for entry in result.manifest.entries] == ["case_00000", "case_00001", "case_00001"]
    assert build(cohort, cache, SETTINGS).kept == 3


def test_a_file_that_no_manifest_lists_is_kept_only_if_it_is_whole(cohort: Path, cache: Path) -> None:
    before = read_manifest(cache)
    (cache / "manifest.json").unlink()
    with h5py.File(cache / "case_00000.h5", "r+") as file:
        file["image"][1, 2, 3] += 1
    with h5py.File(cache / "case_00002.h5", "r+") as file:
        file.attrs["pixel_mm"] = 9.0
    result = build(cohort, cache, SETTINGS)
    assert (result.made, result.kept) == (2, 1)
    assert result.manifest == before
    for entry in before.entries:
        verify(before, entry)


def test_a_file_with_any_flipped_bit_is_remade_or_refused_in_one_line(cohort: Path, cache: Path) -> None:
    before = read_manifest(cache)
    path = cache / "case_00001.h5"
    whole = path.read_bytes()
    draw = random.Random(0)
    remade = refused = 0
    for _ in range(120):
        (cache / "manifest.json").unlink()  # so that nothing but the file itself can tell
        content = bytearray(whole)
        content[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        try:
            result = build(cohort, cache, SETTINGS)
        except InputError as error:
            assert "schema" in str(error) or "--rebuild" in str(error)
            refused += 1
            path.write_bytes(whole)
            write_manifest(cache, SETTINGS, list(before.entries))
            continue
        assert result.failures == []
        remade += result.made
        found = [replace(entry, sha256="") for entry in result.manifest.entries]
        assert found == [replace(entry, sha256="") for entry in before.entries]
    assert remade >= 10 and refused < 6  # most bits of so small a file belong to nothing


@pytest.mark.parametrize("value", ["{", "[]", '{"size": 7}', '{"length": 16}', 5, [1, 2]])
def test_a_file_with_strange_settings_is_remade(cohort: Path, cache: Path, value: object) -> None:
    before = read_manifest(cache)
    with h5py.File(cache / "case_00001.h5", "r+") as file:
        file.attrs["settings"] = value
    result = build(cohort, cache, SETTINGS)
    assert (result.made, result.kept) == (1, 2) and result.manifest == before
