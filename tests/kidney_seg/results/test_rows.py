"""The table: which rows, which figures, what a spreadsheet makes of them."""

from __future__ import annotations

import csv
import io
import json

import pytest
from support.batches import add_failure, add_scan, labels_of

from data_prep.errors import InputError
from kidney_seg.results import writer
from kidney_seg.results.record import remove_failure
from kidney_seg.results.rows import read_rows, table
from kidney_seg.results.writer import Results, write_results


def read(folder):
    return {row["scan"]: row for row in csv.DictReader(io.StringIO(table(read_rows(folder))))}


def test_figures_are_those_of_the_boxes(tmp_path):
    labels = labels_of()
    labels[16:19, 45:55, 115:125] = 2  # a second tumor, on the left: 300 voxels
    add_scan(tmp_path, "two", labels)
    add_scan(tmp_path, "none", labels_of(0, tumor=False))
    rows = read(tmp_path)
    voxel_ml = 3 * 1.5 * 1.5 / 1000
    row = rows["two"]
    assert float(row["right_kidney_ml"]) == pytest.approx(16 * 40 * 30 * voxel_ml, abs=1e-3)
    assert float(row["tumor_ml"]) == pytest.approx((6 * 20 * 15 + 300) * voxel_ml, abs=1e-3)
    assert (row["kidneys"], row["tumors"], row["unknown_kidney_ml"]) == ("2", "2", "")
    assert [row["tumor_1_side"], row["tumor_2_side"]] == ["right", "left"]
    assert float(row["tumor_2_ml"]) == pytest.approx(300 * voxel_ml, abs=1e-3)
    assert float(row["tumor_1_mm"]) == pytest.approx(
        ((5 * 3) ** 2 + (19 * 1.5) ** 2 + (14 * 1.5) ** 2) ** 0.5, rel=0.15
    )
    assert (row["model"], row["license"], row["seconds"], row["error"]) == ("small", "CC0", "1.5", "")
    empty = rows["none"]
    assert empty["flags"].split()[:2] == ["empty", "no_kidney"] and empty["tumor_1_side"] == ""
    assert float(empty["kidney_ml"]) == 0 and empty["tumor_confidence"] == "" and empty["tumors"] == "0"


def test_names_and_reasons_are_no_formulas(tmp_path):
    add_scan(tmp_path, "=1+1", labels_of(), model={"name": "@x", "data": "", "license": "-1"})
    add_failure(tmp_path, "+2", '=HYPERLINK("http://a")\nand more')
    rows = read(tmp_path)
    assert set(rows) == {"'=1+1", "'+2"}
    assert rows["'=1+1"]["model"] == "'@x" and rows["'=1+1"]["license"] == "'-1"
    assert rows["'+2"]["error"] == '\'=HYPERLINK("http://a") and more' and "DOE" not in table(read_rows(tmp_path))


def test_what_is_no_record_gives_no_row(tmp_path):
    good = add_scan(tmp_path, "good", labels_of())
    for name, content in {
        "other": {**good, "program": "another 1.0"},
        "list": [1],
        "short": {key: good[key] for key in ("program", "files", "labels")},
        "types": {**good, "tumors": [{"side": 3}]},
        "words": {**good, "volumes_ml": {"kidney": "much", "tumor": 1.0}},
        "gone": good | {"labels": "gone.nii.gz", "files": {"gone.nii.gz": "0" * 64}},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "cut.json").write_text('{"program"')
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "mine.json").write_text("{}")
    assert [row.name for row in read_rows(tmp_path)] == ["good"]
    with pytest.raises(InputError, match="no record of a prediction"):
        write_results(tmp_path / "failed")


def test_a_scan_that_fails_now_is_a_failure_and_one_that_works_is_none(tmp_path):
    add_scan(tmp_path, "a", labels_of())
    add_failure(tmp_path, "a", "was made with another image")
    assert read(tmp_path)["a"]["status"] == "failed"
    remove_failure(tmp_path, "a")
    assert read(tmp_path)["a"]["status"] == "done" and not (tmp_path / "failed").exists()


def test_what_another_process_records_meanwhile_is_written(tmp_path, monkeypatch):
    add_scan(tmp_path, "a", labels_of())
    real, turns = writer.page, []

    def page(folder, rows):
        turns.append(len(rows))
        if len(turns) == 1:
            add_scan(tmp_path, "b", labels_of())
        return real(folder, rows)

    monkeypatch.setattr(writer, "page", page)
    write_results(tmp_path)
    assert turns == [1, 2] and "\nb,done" in (tmp_path / "summary.csv").read_text()
    before = (tmp_path / "overview.html").stat().st_mtime_ns
    write_results(tmp_path)
    assert (tmp_path / "overview.html").stat().st_mtime_ns == before  # nothing has changed


def test_writing_takes_little_of_the_time(tmp_path, monkeypatch):
    add_scan(tmp_path, "a", labels_of())
    clock, written = [0.0], []
    monkeypatch.setattr(writer.time, "monotonic", lambda: clock[0])

    def slow(folder):
        written.append(clock[0])
        clock[0] += 10.5

    monkeypatch.setattr(writer, "write_results", slow)
    live = Results(tmp_path)
    for _ in range(100):
        live.update()
        clock[0] += 10
    assert written == [0.0, pytest.approx(210.5, abs=10), pytest.approx(421, abs=20), *written[3:]] and len(written) < 7
    live.finish()
    assert written[-1] >= 1000
    Results(None).update()
    Results(tmp_path / "nothing").finish()
