"""What a report tells: from runs, old and new, and from evaluations; and what is refused."""

from __future__ import annotations

import json
import math

import pytest
from support.helpers import one_line
from support.report_runs import NAMES, SCRIPT, make_run

from data_prep.errors import InputError
from kidney_seg.evaluate.__main__ import main as evaluate
from kidney_seg.report.rows import ball_diameter_mm, detection_of_cases
from kidney_seg.report.sources import gather


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("report"))


@pytest.fixture
def old_scores(run):
    """The run's scores as older versions wrote them: no intervals, no tumors one by one. Put back afterwards."""
    path = run / "evaluation" / "test" / "scores.json"
    kept = path.read_text()
    scores = json.loads(kept)
    for name in ("detection", "postprocessed_detection", "lesions"):
        del scores[name]
    del scores["summary"]["columns"]
    for key, table in scores["summary"].items():
        scores["summary"][key] = {
            name: {part: cell[part] for part in ("mean", "median", "n", "left_out")} for name, cell in table.items()
        }
    basic = ("case", "patient", "kidney_dice", "tumor_dice", "kidney_ml", "tumor_ml", "predicted_tumor_ml")
    basic += ("postprocessed_kidney_dice", "postprocessed_tumor_dice", "postprocessed_predicted_tumor_ml")
    scores["cases"] = [{key: row[key] for key in basic} for row in scores["cases"]]
    path.write_text(json.dumps(scores))
    yield
    path.write_text(kept)


def test_a_run(run):
    data = gather(run)
    assert data.title == "Run run"
    assert [line.name for line in data.table1] == ["as predicted", "post-processed"]
    tumor = data.table1[0].cells["tumor"]
    assert tumor["low"] < tumor["mean"] < tumor["high"] and tumor["n"] == 3
    assert {row["case"] for row in data.cases} == set(NAMES)
    assert [row["diameter_mm"] is None for row in data.cases] == [False, False, False, True]
    assert data.diameter_is_measured and data.detection_by_tumor
    assert 28 <= data.cases[0]["diameter_mm"] <= 31  # a ball of radius 15 mm
    found = {row["size_class"]: (row["n"], row["found"]) for row in data.detection}
    assert found == {"up to 2 cm": (1, 0), "2 to 4 cm": (2, 2), "4 to 7 cm": (0, 0), "over 7 cm": (0, 0), "all": (3, 2)}
    assert [row["step"] for row in data.rounds] == [20, 40]
    assert [row["step"] for row in data.history] == [10, 20, 30, 40]
    assert all(path.is_file() for files in data.files.values() for path in vars(files).values())


def test_scores_of_an_older_version(run, old_scores):
    data = gather(run)
    tumor = data.table1[0].cells["tumor"]
    assert tumor["low"] < tumor["mean"] < tumor["high"]
    assert not data.diameter_is_measured and not data.detection_by_tumor and not data.further
    assert 26 <= data.cases[0]["diameter_mm"] <= 31
    assert [(row["n"], row["found"]) for row in data.detection] == [(1, 0), (2, 2), (0, 0), (0, 0), (3, 2)]


def test_an_evaluation_with_and_without_its_scans(run, tmp_path):
    root, out = run.parent, tmp_path / "scores"
    assert evaluate([str(run / "evaluation" / "test"), str(root / "kits"), "--out", str(out)]) == 0
    assert gather(out).files == {}
    data = gather(out, truth=root / "kits", predictions=run / "evaluation" / "test")
    assert set(data.files) == set(NAMES)
    assert all(path.is_file() for files in data.files.values() for path in vars(files).values())
    assert data.files[SCRIPT].image.parent.name == SCRIPT
    assert not data.rounds and data.table1[0].cells["tumor"]["n"] == 3


def test_what_is_refused(run, tmp_path):
    with pytest.raises(InputError) as caught:
        gather(tmp_path)
    assert "neither a run folder" in one_line(caught)
    (tmp_path / "scores.json").write_text('{"cases": [{"case": "a"}], "summary": {}}')
    with pytest.raises(InputError) as caught:
        gather(tmp_path)
    assert str(tmp_path) in one_line(caught) and "not a file of scores" in one_line(caught)
    journal = run / "journal.jsonl"
    kept = journal.read_text()
    journal.write_text("\n".join(kept.splitlines()[:-1]) + "\n")
    try:
        with pytest.raises(InputError) as caught:
            gather(run)
    finally:
        journal.write_text(kept)
    assert "not finished" in one_line(caught)


def test_a_cache_that_is_gone_costs_only_the_pictures(run):
    manifest = run / "manifest.json"
    kept = manifest.read_text()
    manifest.write_text(json.dumps({**json.loads(kept), "data": str(run / "gone")}))
    try:
        data = gather(run)
    finally:
        manifest.write_text(kept)
    assert len(data.cases) == 4 and all(files.image is None for files in data.files.values())


def test_diameter_of_a_ball():
    assert ball_diameter_mm(4 / 3 * math.pi) == pytest.approx(20)  # 1 cm of radius
    assert ball_diameter_mm(0) is None and ball_diameter_mm(None) is None


def test_detection_of_cases_by_hand():
    rows = [
        {"tumor": 0.5, "diameter_mm": 20.0},
        {"tumor": 0.0, "diameter_mm": 20.1},
        {"tumor": 0.1, "diameter_mm": 39.0},
        {"tumor": None, "diameter_mm": None},
    ]
    found = detection_of_cases(rows)
    assert [(row["n"], row["found"]) for row in found] == [(1, 1), (2, 1), (0, 0), (0, 0), (3, 2)]
    # Wilson's interval of 1 in 2 by its formula: center .5, half = z / (n + z^2) * sqrt(n / 4 + z^2 / 4), z = 1.96
    half = 1.96 / (2 + 1.96**2) * math.sqrt((2 + 1.96**2) / 4)
    assert (found[1]["low"], found[1]["high"]) == (
        pytest.approx(0.5 - half, abs=1e-4),
        pytest.approx(0.5 + half, abs=1e-4),
    )
