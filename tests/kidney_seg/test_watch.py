"""A look at a run from outside: in progress, finished, and in a notebook."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import numpy as np
import pytest

from data_prep.errors import InputError
from kidney_seg.config.run_config import Config
from kidney_seg.evaluate.case_scores import score_case
from kidney_seg.evaluate.summary import summarize
from kidney_seg.metrics.missing import nan_to_none
from kidney_seg.watch import main, pictures, show, status


def attempt(number: int, index: int, **facts) -> dict:
    own = {
        "steps": 40,
        "kidney": 0.8,
        "tumor": 0.3,
        "score": 0.55,
        "trouble": None,
        "history": [{"steps": 40, "loss": 0.4}],
    }
    return {"event": "attempt", "round": number, "attempt": index, **own, **facts}


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(Config().to_dict()))
    events = [
        attempt(0, 0, trouble="almost no tumor is predicted", tumor=None),
        attempt(0, 1),
        {"event": "round", "round": 0, "accepted": True},
        attempt(1, 0, score=0.5),
        {"event": "round", "round": 1, "accepted": False},
    ]
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    for name in ("progress.png", "rounds/00/worst0.png", "rounds/01/worst0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"png")
    return tmp_path


def finish(run) -> None:
    truth = np.zeros((4, 4, 4), np.uint8)
    truth[1:3], truth[1, 1] = 1, 2
    row = score_case("case_00000", truth, np.where(truth, 1, 0), (3, 1, 1), cleaned_labels=truth)
    del row["lesions"]  # a file of their own
    scores = {"cases": [row], "summary": summarize([row]), "stop_on": "selection"}
    (run / "evaluation" / "test").mkdir(parents=True)
    (run / "evaluation" / "test" / "scores.json").write_text(json.dumps(nan_to_none(scores)))
    with open(run / "journal.jsonl", "a") as file:
        file.write(json.dumps({"event": "tested"}) + "\n")


def test_status_of_a_run_in_progress(run):
    lines = status(run).splitlines()
    assert "progressive training" in lines[0]
    assert lines[2].split()[:6] == ["0", "1", "40", "0.400", "0.800", "-"] and "almost no tumor" in lines[2]
    assert lines[3].endswith("round 0 accepted") and lines[4].endswith("round 1 rejected")
    assert lines[-1] == "the run is not finished"


def test_status_of_a_finished_run(run, capsys):
    finish(run)
    text = status(run)
    assert "Table 1: Dice of 1 test patients" in text and "not finished" not in text
    assert main([str(run), "--follow"]) == 0
    assert "Table 1" in capsys.readouterr().out


def test_a_run_that_has_just_begun(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(Config().to_dict()))
    assert status(tmp_path).splitlines()[-1] == "the run is not finished"
    assert pictures(tmp_path) == []


def test_notebooks_see_text_and_pictures(run, monkeypatch, capsys):
    seen = []
    display = ModuleType("IPython.display")
    display.Image = lambda filename: filename
    display.display = seen.append
    display.clear_output = lambda wait: seen.append("cleared")
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    show(run)
    assert "the run is not finished" in capsys.readouterr().out
    assert seen == [str(run / "progress.png"), str(run / "rounds" / "01" / "worst0.png")]
    finish(run)
    show(run, follow=True)
    assert seen[2] == "cleared"


def test_other_folders_are_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="not a run folder"):
        status(tmp_path)
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
