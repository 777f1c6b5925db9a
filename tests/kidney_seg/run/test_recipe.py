"""Runs repeated from their manifest: what must be the same, and what is named."""

from __future__ import annotations

import json

import pytest

from data_prep.errors import InputError
from kidney_seg.config.run_config import Config
from kidney_seg.run.folder import RunFolder
from kidney_seg.run.recipe import check_recipe, read_recipe

CONFIG = Config().with_settings(["alpha=0.6", "gates=2,3"])
IDENTITY = {
    "seed": 4,
    "data": "/somewhere/cache",
    "data_sha256": "d" * 64,
    "split": "/somewhere/cache/folds/fold1.json",
    "split_sha256": "s" * 64,
}


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run", CONFIG, IDENTITY)
    folder.close()
    return folder.root


def test_a_manifest_alone_holds_settings_seed_and_data(run):
    for path in (run, run / "manifest.json"):
        recipe = read_recipe(path)
        assert (recipe.config, recipe.seed, str(recipe.data)) == (CONFIG, 4, "/somewhere/cache")
        assert recipe.versions["tensorflow"].startswith("2.") and recipe.versions["python"].startswith("3.")


def test_the_split_is_looked_for_in_the_cache_wherever_that_lies_now(run, tmp_path):
    assert read_recipe(run).split_file(tmp_path) == tmp_path / "folds" / "fold1.json"
    content = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**content, "split": "/elsewhere/mine.json"}))
    assert str(read_recipe(run).split_file(tmp_path)) == "/elsewhere/mine.json"


def test_what_differs_is_named(run):
    recipe = read_recipe(run)
    assert check_recipe(recipe, "d" * 64, "s" * 64, recipe.versions) == []
    now = {**recipe.versions, "keras": "9.9"}
    assert check_recipe(recipe, "d" * 64, "s" * 64, now) == [f"keras: {recipe.versions['keras']} then, 9.9 now"]
    with pytest.raises(InputError, match=r"its data has the checksum eee.* had ddd.*--data"):
        check_recipe(recipe, "e" * 64, "s" * 64, now)
    with pytest.raises(InputError, match="its split has the checksum"):
        check_recipe(recipe, "d" * 64, "e" * 64, now)


def test_other_files_are_refused_in_one_line(run, tmp_path):
    path = run / "manifest.json"
    content = json.loads(path.read_text())
    del content["config"]
    path.write_text(json.dumps(content))
    for wrong, words in ((path, "lacks 'config'"), (tmp_path / "none.json", "no run's manifest")):
        with pytest.raises(InputError, match=words) as caught:
            read_recipe(wrong)
        assert "\n" not in str(caught.value)
