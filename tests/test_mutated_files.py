"""Files that are damaged, hostile or of other programs end in one line and exit code 2, never in a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.mutations import mutated_bytes, mutated_json, mutated_zip

from data_prep.cache.manifest import read_case, read_manifest
from data_prep.check.__main__ import main as check
from data_prep.errors import InputError, of_os_error
from data_prep.split.__main__ import main as split
from data_prep.split.sets import read_split
from kidney_seg.config.run_config import Config
from kidney_seg.evaluate.score_files import read_scores
from kidney_seg.run.journal import Journal
from kidney_seg.run.recipe import read_recipe
from kidney_seg.watch import main as watch

MADE = Path(__file__).parent / "made_by_0_1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(MADE, tmp_path_factory.mktemp("mutated") / "made")


@pytest.fixture
def count(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--mutations")


def refused(work: Callable[[], object]) -> bool:
    """Return whether work ends with an InputError of one line; any other error is the test's failure."""
    try:
        work()
    except InputError as error:
        assert "\n" not in str(error) and error.path is not None, error
        return True
    except OSError as error:  # of a path that the file names
        assert of_os_error(error) is not None
        return True
    return False


def try_all(path: Path, texts: Iterator[str], *works: Callable[[], object]) -> int:
    before, found = path.read_bytes(), 0
    try:
        for text in texts:
            path.write_text(text)
            found += sum(map(refused, works)) > 0
    finally:
        path.write_bytes(before)
    return found


def lines_of(text: str, count: int) -> Iterator[str]:
    lines = text.splitlines()
    for number in range(count):
        at = number % len(lines)
        new = next(iter(mutated_json(lines[at], 1, number)))
        yield "\n".join([*lines[:at], new, *lines[at + 1 :]])


def test_manifests_of_caches(made: Path, count: int) -> None:
    cache = made / "cache"

    def read() -> None:
        manifest = read_manifest(cache)
        for entry in manifest.entries:
            read_case(manifest, entry)

    for name in ("manifest.json", "sources.json"):
        texts = mutated_json((cache / name).read_text(), count)
        assert try_all(cache / name, texts, read, lambda: read_split(cache, read_manifest(cache))) > count // 4


def test_splits(made: Path, count: int) -> None:
    manifest, path = read_manifest(made / "cache"), made / "cache" / "split.json"
    assert try_all(path, mutated_json(path.read_text(), count), lambda: read_split(path, manifest)) > count // 2


def test_runs(made: Path, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    run = made / "run"
    journal = lines_of((run / "journal.jsonl").read_text(), count)
    assert try_all(run / "journal.jsonl", journal, lambda: Journal(run).rounds(Journal(run).history())) > count // 4
    config = (run / "config.json").read_text()
    assert try_all(run / "config.json", mutated_json(config, count), lambda: Config.read(run / "config.json"))
    manifest = (run / "manifest.json").read_text()
    assert try_all(run / "manifest.json", mutated_json(manifest, count), lambda: read_recipe(run)) > count // 4
    for name in ("journal.jsonl", "config.json"):
        before = (run / name).read_text()
        for text in mutated_json(before, 8) if name == "config.json" else lines_of(before, 8):
            (run / name).write_text(text)
            assert watch([str(run)]) in (0, 2)
        (run / name).write_text(before)
    assert "Traceback" not in capsys.readouterr().err


def test_scores(tmp_path: Path, count: int) -> None:
    cell = {"mean": 0.5, "median": 0.5, "n": 1, "left_out": 0, "low": None, "high": None}
    row = {"case": "a", "patient": "a", "kidney_ml": 1.5, "tumor_ml": 0.5, "kidney_dice": 1}
    sizes = [{"size_class": "all", "n": 1, "found": 1}]
    content = {"summary": {"all": {"kidney": cell}}, "detection": {"sizes": sizes}, "cases": [row], "best": {}}
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(content))
    assert try_all(path, mutated_json(path.read_text(), count), lambda: read_scores(path)) > count // 2


def test_commands_on_a_mutated_cache(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made / "cache" / "manifest.json"
    before = path.read_text()
    for text in mutated_json(before, 8, seed=1):
        path.write_text(text)
        assert check([str(path.parent)]) in (0, 1, 2)
        assert split([str(path.parent)]) in (0, 2)
    path.write_text(before)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.network
def test_models(tmp_path: Path, count: int, capfd: pytest.CaptureFixture[str]) -> None:
    from kidney_seg import load_model

    path, content = tmp_path / "best.keras", (MADE / "run" / "best.keras").read_bytes()
    some = max(1, count // 10)
    found = 0
    for made in (*mutated_bytes(content, some), *mutated_zip(content, some)):
        path.write_bytes(made)
        found += refused(lambda: load_model(path))
    assert found > some
    capfd.readouterr()  # Keras' warnings


@pytest.mark.parametrize("name", ["best.keras.zip", "best.h5", "best"])
def test_a_model_under_another_name_is_one_line(tmp_path: Path, name: str) -> None:
    from kidney_seg.model.model_file import find_source

    shutil.copy(MADE / "run" / "best.keras", tmp_path / name)
    with pytest.raises(InputError, match=r"rename it to end in \.keras"):
        find_source(tmp_path / name)
