"""The table at the end of a run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.helpers import save, write_cache

from data_prep.errors import InputError
from kidney_seg.evaluate.case_scores import score_case
from kidney_seg.evaluate.held_out import held_out_cases
from kidney_seg.evaluate.score_files import scores_of
from kidney_seg.evaluate.tables import format_run, table


def result(*labels: tuple[np.ndarray, np.ndarray], stop_on: str = "selection") -> dict:
    rows = [
        score_case(f"case_{number:05d}", truth, predicted, (1.0, 1.0, 1.0), predicted)
        for number, (truth, predicted) in enumerate(labels)
    ]
    content = scores_of(rows, {"stop_on": stop_on})
    return json.loads(json.dumps(content).replace("NaN", "null"))  # as it comes back from the file


KIDNEY = np.ones((1, 2, 2), np.uint8)
TUMOR = np.array([[[1, 1], [2, 2]]], np.uint8)


def test_table_by_hand():
    text = table(result((TUMOR, TUMOR), (TUMOR, KIDNEY)))
    assert "2 test patients" in text and "optimistic" not in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["Kidney"] == ["1.000", "[1.000,", "1.000]", "1.000", "2"] * 2
    assert rows["Tumor"] == ["0.500", "[0.000,", "1.000]", "0.500", "2"] * 2
    assert rows["Average"][0] == "0.750"
    assert "hold the structure" not in text


def test_cases_without_tumor_get_a_table_of_their_own():
    text = table(result((TUMOR, TUMOR), (KIDNEY, KIDNEY), (KIDNEY, TUMOR)))
    overall, present = text.split("Only the cases that hold the structure")
    assert "Tumor      0.500" in overall and "(1 left out)" in overall  # found, left out, false alarm
    assert "Tumor      1.000" in present and "1.000  1" in present


def test_table_without_any_tumor_and_the_paper_s_protocol():
    text = table(result((KIDNEY, KIDNEY), stop_on="test"))
    assert "optimistic" in text
    assert any(line.split()[:3] == ["Tumor", "-", "-"] for line in text.splitlines())


def split(result: dict) -> list[str]:
    return next(line.split() for line in table(result).splitlines() if line.startswith("Tumor "))


def test_scores_of_an_older_version_have_no_intervals_and_no_tumors_by_size():
    old = result((TUMOR, TUMOR), (TUMOR, KIDNEY))
    assert "Tumors found" in table(old) and "false tumors, post-processed: 0" in table(old)
    old = {key: value for key, value in old.items() if "detection" not in key}
    del old["summary"]["columns"]
    for part in old["summary"].values():
        for figures in part.values():
            del figures["low"], figures["high"]
    assert (
        table is format_run
        and split(old) == ["Tumor", *["0.500", "0.500", "2"] * 2]
        and "Tumors found" not in table(old)
    )


def test_gone_source_files_are_named_before_the_training(tmp_path):
    blank = np.zeros((1, 16, 16), np.int16), np.zeros((1, 16, 16), np.uint8)
    manifest = write_cache(tmp_path / "cache", {"case_00000": blank, "case_00001": blank})
    here = save(tmp_path / "x.nii.gz", blank[1])
    found = tuple(replace(entry, image_path=str(here), label_path=str(here)) for entry in manifest.entries)
    split = {"test": ["case_00001"]}
    assert [entry.case for entry in held_out_cases(replace(manifest, entries=found), split)] == ["case_00001"]
    gone = (found[0], replace(found[1], label_path=str(tmp_path / "gone.nii.gz")))
    with pytest.raises(InputError, match=r"gone\.nii\.gz: no such file; test case case_00001"):
        held_out_cases(replace(manifest, entries=gone), split)
