"""The head of a report names the license of a model where it has one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kidney_seg.config.presets import PRESETS
from kidney_seg.model.model_file import find_source
from kidney_seg.report.facts import facts_of_evaluation, facts_of_run
from kidney_seg.run import layout
from kidney_seg.weights import STARTER, STARTER_FILE

OTHER = Path(__file__).parents[2] / "made_by_0_1" / "run" / "best.keras"  # says nothing of itself
MANIFEST = {"pretrained": "/models/starter", "pretrained_sha256": "0123456789abcdef"}


@pytest.mark.parametrize(
    ("best", "first", "manifest", "licenses"),
    [
        (STARTER_FILE, None, {}, (True, False)),
        (OTHER, STARTER_FILE, MANIFEST, (False, True)),
        (OTHER, STARTER_FILE, {}, (False, False)),  # a file that the run did not begin with
        (OTHER, None, MANIFEST, (False, False)),
        (None, None, {}, (False, False)),
    ],
)
def test_of_a_run(tmp_path: Path, best, first, manifest, licenses) -> None:
    for source, name in ((best, layout.BEST_MODEL), (first, layout.PRETRAINED)):
        if source:
            shutil.copy(source, tmp_path / name)
    facts = facts_of_run(tmp_path, PRESETS["demo"], manifest, {"best": {"round": 1}})
    text = find_source(STARTER).about.license
    found = facts["License of the model"], facts["License of the first weights"]
    assert found == tuple(text if one else None for one in licenses)
    assert "CC BY-NC-SA 4.0" in text and facts["Best round"] == "1"


def test_of_an_evaluation(tmp_path: Path) -> None:
    models = {"a": {"name": "starter", "license": "L1"}, "b": {"name": "starter", "license": "L1"}, "c": {"name": "x"}}
    for case, model in models.items():
        (tmp_path / f"{case}.json").write_text(json.dumps({"model": model}))
    (tmp_path / "d.json").write_text("[1]")
    (tmp_path / "e.json").write_text("no json")
    scores = {"protocol": "kits19"}
    facts = facts_of_evaluation(scores, tmp_path, "abcdef")
    assert facts == {"Protocol": "kits19", "Model": "starter", "License of the model": "L1"}
    assert facts_of_evaluation(scores, tmp_path, "cdef")["License of the model"] is None
