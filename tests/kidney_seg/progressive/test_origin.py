"""Where a cohort is named: KiTS or simulated patients, in the files of a run, its exports and lines of commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.helpers import SMALLEST, noise_cases, simulated_cache

from data_prep.build.builder import build
from data_prep.geometry.network_grid import GridSettings
from data_prep.split.sets import make_split, write_split
from kidney_seg.evaluate.__main__ import main as evaluate
from kidney_seg.export.__main__ import main as export
from kidney_seg.model.__main__ import main as show_model
from kidney_seg.model.model_file import find_source
from kidney_seg.predict.__main__ import main as predict
from kidney_seg.progressive.__main__ import main as progressive
from kidney_seg.threshold import main as threshold

pytestmark = [pytest.mark.network, pytest.mark.slow]

NAMES = {"kits19": "KiTS19 patients", "simulated": "simulated patients"}
TINY = ["size=32", "width_factor=0.1", "starts=1", "retries=0", "start_steps=1", "max_rounds=0", "batch_size=2"]
TINY += [*SMALLEST, "odds=1,5,5"]


def kits_cache(root: Path) -> Path:
    noise_cases(root / "patients", 8)  # numbers and axes as KiTS19 has them
    manifest = build(root / "patients", root / "cache", GridSettings(32)).manifest
    write_split(manifest, make_split(manifest, (0.5, 0.25, 0.25)))
    return root / "cache"


@pytest.fixture(scope="module", params=NAMES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The kind of a cohort, and a folder with `patients`, `cache` and `run`."""
    root = tmp_path_factory.mktemp(request.param)
    cache = (kits_cache if request.param == "kits19" else simulated_cache)(root)
    assert progressive(["--data", str(cache), "--out", str(root / "run"), "--set", *TINY]) in (0, 1)
    return request.param, root


def words_of(kind: str) -> str:
    return f"trained on {NAMES[kind]}" + ": not for real scans" * (kind == "simulated")


def test_in_the_files_of_cache_run_and_export(trained, capsys) -> None:
    kind, root = trained
    run, words = root / "run", words_of(kind)
    assert json.loads((root / "cache" / "manifest.json").read_text())["cohort"]["kind"] == kind
    assert json.loads((run / "manifest.json").read_text())["origin"]["kind"] == kind
    assert find_source(run).origin.kind == kind
    scores = json.loads((run / "evaluation" / "test" / "scores.json").read_text())
    assert (scores["cohort"]["kind"], scores["origin"]["kind"]) == (kind, kind)
    html = (run / "report.html").read_text()
    assert words in html and ("0.572" in html) == (kind == "kits19")  # the paper's figure for tumors
    assert export([str(run), "--out", str(root / "served" / "kidney_seg")]) == 0
    assert words in capsys.readouterr().err
    card = next((root / "served").rglob("*.md")).read_text()
    assert f"**{words.capitalize()}.**".lower() in card.lower() and f"test patients ({NAMES[kind]})" in card
    about = [json.loads(path.read_text()).get("about") for path in (root / "served").rglob("*.json")]
    assert any(one and words in one["trained_on"] for one in about)


def test_in_a_line_of_every_command_and_in_records(trained, capsys) -> None:
    kind, root = trained
    run, words, patients = str(root / "run"), words_of(kind), str(root / "patients")

    def said(command, *arguments: str) -> str:
        capsys.readouterr()
        assert command(list(arguments)) in (0, 1)
        printed = capsys.readouterr()
        return printed.out + printed.err

    assert words in said(show_model, run)
    assert words in said(predict, run, patients, "--out", str(root / "p"))
    for record in (root / "p").glob("*.json"):
        content = json.loads(record.read_text())
        assert words in content["trained_on"] and content["origin"][0]["kind"] == kind
    printed = said(evaluate, str(root / "p"), patients, "--out", str(root / "e"))
    assert f"patients: {NAMES[kind]}" in printed and f"predicted by a model: {words}" in printed
    scores = json.loads((root / "e" / "scores.json").read_text())
    assert (scores["cohort"]["kind"], scores["origin"]["kind"]) == (kind, kind)
    assert words in said(threshold, run)
    again = said(
        progressive, "--data", str(root / "cache"), "--out", str(root / "again"), "--pretrained", run, "--set", *TINY
    )
    assert f"data: {NAMES[kind]}; first weights: trained on {NAMES[kind]}" in again
