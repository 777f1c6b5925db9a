from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.manifests import cohort, entry

from data_prep.cache.manifest import Manifest, write_manifest
from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from data_prep.split.__main__ import main
from data_prep.split.sets import SETS, make_split, patients_of, read_split, set_name, upgraded, write_split


def test_hundred_patients_are_divided_70_10_20() -> None:
    split = make_split(cohort(100))
    assert [len(split[name]) for name in SETS] == [70, 10, 20]
    assert split["seed"] == 0 and split["fractions"] == [0.7, 0.1, 0.2] and split["schema"] == 2
    assert split["data_sha256"] == cohort(100).data_sha256


@given(st.integers(3, 60), st.integers(0, 5), st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)))
def test_every_patient_is_in_one_set_and_no_set_is_empty(n: int, seed: int, parts: tuple[int, int, int]) -> None:
    fractions = [part / sum(parts) for part in parts]
    manifest = cohort(n)
    split = make_split(manifest, fractions, seed)
    together = [patient for name in SETS for patient in split[name]]
    assert sorted(together) == [e.patient for e in manifest.entries]
    for name, share in zip(SETS, fractions, strict=True):
        assert len(split[name]) >= 1
        assert abs(len(split[name]) - n * share) < 3
        assert split[name] == sorted(split[name])


def test_a_patient_with_several_cases_stays_in_one_set() -> None:
    entries = tuple(entry(f"case_{k // 4:05d}_s{k:04d}", float(k)) for k in range(80))
    split = make_split(Manifest(Path("cache"), GridSettings(), entries, ""))
    assert sorted(p for name in SETS for p in split[name]) == [f"case_{k:05d}" for k in range(20)]
    assert [len(split[name]) for name in SETS] == [14, 2, 4]


@pytest.mark.parametrize("seed", range(10))
def test_every_set_gets_small_and_large_tumors(seed: int) -> None:
    manifest = cohort(100)
    volume_ml = {e.patient: e.tumor_ml for e in manifest.entries}
    middle = np.median(list(volume_ml.values()))
    split = make_split(manifest, seed=seed)
    for name in SETS:
        large = np.mean([volume_ml[patient] > middle for patient in split[name]])
        assert 0.3 <= large <= 0.7


def test_the_seed_decides_and_the_order_of_cases_does_not() -> None:
    manifest = cohort(50)
    turned = replace(manifest, entries=manifest.entries[::-1])
    assert make_split(manifest, seed=3) == make_split(turned, seed=3)
    assert make_split(manifest, seed=3)["test"] != make_split(manifest, seed=4)["test"]


def test_cases_without_labels_are_in_no_set() -> None:
    manifest = cohort(10)
    more = replace(manifest, entries=(*manifest.entries, entry("case_00099", None)))
    assert "case_00099" not in [p for name in SETS for p in make_split(more)[name]]


@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.7, 0.1, 0.1), (1.0, 0.0, 0.0), (0.5, 0.7, -0.2)])
def test_impossible_fractions_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="sum 1"):
        make_split(cohort(10), fractions)


def test_too_few_patients_and_negative_seeds_are_refused() -> None:
    with pytest.raises(InputError, match="2 patients with labels; expected at least 3"):
        make_split(cohort(2))
    with pytest.raises(InputError, match="0 or more"):
        make_split(cohort(10), seed=-1)


@pytest.mark.parametrize("name", ["image_sha256", "slices_sha256"])
def test_one_image_under_two_patients_is_refused(name: str) -> None:
    manifest = cohort(20)
    entries = list(manifest.entries)
    for index in (3, 11):
        entries[index] = replace(entries[index], **{name: "f" * 64})
    for seed in range(5):  # whichever sets they would come to
        with pytest.raises(
            InputError, match=r"case_00003 .* and case_00011 .* hold the same image; leave one"
        ) as caught:
            make_split(replace(manifest, entries=tuple(entries)), seed=seed)
        assert "\n" not in str(caught.value)
    entries[11] = replace(entries[11], patient="case_00003")
    make_split(replace(manifest, entries=tuple(entries)))  # one patient's are in one set
    entries[11] = replace(entries[11], patient="case_00011", labelled=False)
    make_split(replace(manifest, entries=tuple(entries)))  # in no set


@pytest.fixture
def cache(tmp_path: Path) -> Manifest:
    return write_manifest(tmp_path, GridSettings(), list(cohort(20).entries))


def test_a_split_is_not_replaced_silently(cache: Manifest) -> None:
    first = make_split(cache)
    assert write_split(cache, first)
    assert read_split(cache.root, cache) == first
    assert not write_split(cache, first)
    other = make_split(cache, seed=1)
    with pytest.raises(InputError, match="--force"):
        write_split(cache, other)
    assert read_split(str(cache.root), cache) == first
    assert write_split(cache, other, force=True)
    assert read_split(cache.root, cache) == other


def test_a_split_of_schema_1_is_read_as_schema_2(cache: Manifest) -> None:
    split = make_split(cache)
    names = {"validation": "selection", "data_sha256": "manifest_sha256"}
    old = {names.get(key, key): value for key, value in split.items()} | {"schema": 1}
    path = cache.root / "split.json"
    path.write_text(json.dumps(old))
    assert read_split(path, cache) == upgraded(old) == upgraded(split) == split
    assert patients_of(path, "selection") == patients_of(path, "validation") == split["validation"]
    assert not write_split(cache, split)  # the same split: the file is kept
    assert json.loads(path.read_text()) == old
    assert [set_name(name) for name in ("selection", "validation", "test")] == ["validation", "validation", "test"]


def test_a_split_of_other_data_or_a_broken_one_is_refused(cache: Manifest) -> None:
    with pytest.raises(InputError, match="no split"):
        read_split(cache.root, cache)
    good = make_split(cache)
    outsider = [*good["test"], "case_09999"]
    for change, word in [
        ({"schema": 3}, "split of schema 3, this version reads up to 2; make it again"),
        ({"test": []}, "list of patients"),
        ({"test": "case_00000"}, "list of patients"),
        ({"test": [*good["test"], good["train"][0]]}, "disjoint"),
        ({"test": outsider}, "case_09999 is no labelled patient"),
        ({"data_sha256": "1" * 64}, "other data"),
    ]:
        (cache.root / "split.json").write_text(json.dumps({**good, **change}))
        with pytest.raises(InputError, match=word) as caught:
            read_split(cache.root, cache)
        assert "\n" not in str(caught.value)
    (cache.root / "split.json").write_text("[]")
    with pytest.raises(InputError, match="schema None"):
        read_split(cache.root, cache)


def test_a_split_with_one_image_in_two_sets_is_refused(cache: Manifest) -> None:
    split = make_split(cache)
    write_split(cache, split)
    home_of = {patient: name for name in SETS for patient in split[name]}
    one, two = split["train"][0], split["test"][0]
    entries = [replace(e, slices_sha256="f" * 64) if e.patient in (one, two) else e for e in cache.entries]
    with pytest.raises(InputError, match="hold the same image") as caught:
        read_split(cache.root, replace(cache, entries=tuple(entries)))
    assert f"{one} (set {home_of[one]})" in str(caught.value) and f"{two} (set test)" in str(caught.value)
    both = split["train"][:2]
    entries = [replace(e, slices_sha256="f" * 64) if e.patient in both else e for e in cache.entries]
    assert read_split(cache.root, replace(cache, entries=tuple(entries))) == split


def test_any_split_file_is_read_by_its_name(cache: Manifest, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(make_split(cache, seed=5)))
    assert read_split(tmp_path / "mine.json", cache) == make_split(cache, seed=5)
    (tmp_path / "mine.json").write_text(json.dumps({**make_split(cache), "test": [["case_00000"]]}))
    with pytest.raises(InputError, match="list of patients"):
        read_split(tmp_path / "mine.json", cache)


def test_the_command_writes_says_and_refuses(cache: Manifest, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(cache.root)
    assert main([root]) == 0
    printed = capsys.readouterr().out
    assert "written" in printed
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()[1:4]}
    assert rows["train"][:4] == ["14", "14", "28", "14"]  # patients, cases, slices, slices with tumor
    split = read_split(root, cache)
    volumes = [e.tumor_ml for e in cache.entries if e.patient in split["test"]]
    assert float(rows["test"][4]) == pytest.approx(np.median(volumes), abs=0.05)
    assert main([root]) == 0
    assert "the same split exists" in capsys.readouterr().out
    assert main([root, "--seed", "1"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main([root, "--seed", "1", "--force"]) == 0
    assert main([str(cache.root / "absent")]) == 2
    assert main([root, "--fractions", "0.5", "0.5", "0.5", "--force"]) == 2
