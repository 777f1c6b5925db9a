"""Finished runs side by side: arms, figures by hand, and what is refused."""

from __future__ import annotations

import json

import pytest

from data_prep.errors import InputError
from kidney_seg.compare import compare, figure, format_arms, main, read_arms, table
from kidney_seg.config.run_config import Config
from kidney_seg.evaluate.case_scores import STAGES
from kidney_seg.figures.score_plots import plot_arms


def write_run(
    root,
    name: str,
    seed: int,
    tumor: list[float | None],
    settings: tuple[str, ...] = (),
    data="d",
    without=(2,),
    **told,
):
    run = root / name
    (run / "evaluation" / "test").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps(Config().with_settings(settings).to_dict()))
    manifest = {"seed": seed, "data_sha256": data, "split_sha256": "s", **told}
    (run / "manifest.json").write_text(json.dumps(manifest))
    events = [{"event": "round", "round": number, "steps": 10 + number, "accepted": True} for number in range(3)]
    (run / "journal.jsonl").write_text("\n".join(map(json.dumps, events)) + "\n")
    rows = [
        {
            "case": f"case_{index:05d}",
            "patient": f"case_{index:05d}",
            **{f"{stage}kidney_dice": 0.9 for stage in STAGES},
            "kidney_ml": 200.0,
            "tumor_ml": 0.0 if index in without else 10.0,
            "predicted_kidney_ml": 190.0,
            "predicted_tumor_ml": 1.0,
            "postprocessed_predicted_kidney_ml": 190.0,
            "postprocessed_predicted_tumor_ml": 0.0 if dice is None else 1.0,
            "tumor_dice": 0.0,
            "postprocessed_tumor_dice": dice,
        }
        for index, dice in enumerate(tumor)
    ]
    (run / "evaluation" / "test" / "scores.json").write_text(json.dumps({"cases": rows}))
    return run


@pytest.fixture
def runs(tmp_path):
    return [
        write_run(tmp_path, "one", 0, [0.2, 0.4, None]),
        write_run(tmp_path, "two", 1, [0.4, 0.6, None]),
        write_run(tmp_path, "three", 0, [0.5, 0.9, None], ("patient_share=1",)),
    ]


def test_runs_of_other_seeds_are_one_arm(runs):
    arms = read_arms(runs)
    assert [(arm.name, arm.seeds, arm.steps) for arm in arms] == [
        ("first settings", (0, 1), 33),
        ("patient_share: 0.5 → 1.0", (0,), 33),
    ]


def test_figures_by_hand(runs):
    rows = {(row["arm"], row["structure"]): row for row in compare(runs)}
    first, second = rows["first settings", "tumor"], rows["patient_share: 0.5 → 1.0", "tumor"]
    assert first["runs"] == pytest.approx([0.3, 0.5]) and first["mean"] == pytest.approx(0.4)
    assert first["median_of_runs"] == pytest.approx(0.4) and first["spread"] == pytest.approx([0.3, 0.5])
    assert first["difference"] is None and first["patients"] == 2
    # by patient: .3 and .5 in the first arm, .5 and .9 in the second
    assert second["difference"] == pytest.approx(0.3)
    assert (second["difference_low"], second["difference_high"]) == (pytest.approx(0.2), pytest.approx(0.4))
    assert rows["first settings", "kidney"]["mean"] == pytest.approx(0.9)
    assert (rows["first settings", "kidney"]["absent"], second["absent"]) == (0, 1)
    assert {row["mean"] for row in compare(runs, "") if row["structure"] == "tumor"} == {0.0}


def test_runs_that_began_with_other_weights_are_arms_of_their_own(tmp_path):
    runs = [write_run(tmp_path, "random", 0, [0.2])]
    for name, sha256 in (("one", "a" * 64), ("two", "a" * 64), ("three", "b" * 64)):
        runs.append(write_run(tmp_path, name, 1, [0.4], pretrained=f"/at/{name}", pretrained_sha256=sha256))
    assert [(arm.name, len(arm.runs)) for arm in read_arms(runs)] == [
        ("first settings", 1),
        ("pretrained: none → one (SHA-256 aaaaaaaaaaaa)", 2),
        ("pretrained: none → three (SHA-256 bbbbbbbbbbbb)", 1),
    ]


def test_a_false_alarm_changes_no_dice_and_is_counted(tmp_path):
    """The third patient has no tumor: one run finds none (no figure), the other raises a false alarm (Dice 0)."""
    runs = [
        write_run(tmp_path, "quiet", 0, [0.2, 0.4, None]),
        write_run(tmp_path, "alarm", 1, [0.4, 0.6, 0.0]),
        write_run(tmp_path, "other", 0, [0.2, 0.4, 0.0], ("patient_share=1",)),
    ]
    first, other = (row for row in compare(runs) if row["structure"] == "tumor")
    assert first["runs"] == pytest.approx([0.3, 0.5])
    assert first["mean"] == first["median_of_runs"] == pytest.approx(0.4)  # not .3 and .37 over other patients
    assert first["patients"] == other["patients"] == 2
    assert other["difference"] == pytest.approx(other["mean"] - first["mean"]) == pytest.approx(-0.1)
    assert (first["false_alarms"], first["absent"]) == (0.5, 1)
    assert (other["false_alarms"], other["absent"]) == (1.0, 1)
    assert format_arms(compare(runs)).splitlines()[2].endswith("0.5 of 1")
    assert (first["p"], other["p"]) == (None, 0.5)  # two patients: 2 of the 4 flips reach the mean


def test_table_and_figure_show_every_arm(runs):
    rows = compare(runs)
    text = format_arms(rows)
    assert (table, figure) == (format_arms, plot_arms)  # the names of version 0.1
    assert len(text.splitlines()) == 5
    assert "+0.300 [+0.200, +0.400]" in text and "0.400 (0.300 to 0.500)" in text
    panels = figure(rows).axes
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["first settings", "patient_share: 0.5 → 1.0"]
    dots = [line for line in panels[1].lines if line.get_marker() == "o"]
    assert sorted(value for line in dots for value in line.get_xdata()) == pytest.approx([0.3, 0.5, 0.7])


def test_command(runs, tmp_path, capsys):
    written = [str(tmp_path / "c.json"), str(tmp_path / "c.svg")]
    assert main([*map(str, runs), "--json", written[0], "--figure", written[1]]) == 0
    out = capsys.readouterr().out
    assert "first settings" in out and all(name in out for name in written)
    assert len(json.loads((tmp_path / "c.json").read_text())["rows"]) == 4


def test_runs_that_cannot_be_compared_are_named(runs, tmp_path, capsys):
    other = write_run(tmp_path, "other", 0, [0.1], data="e")
    with pytest.raises(InputError, match=r"other: its data differs from that of .*one"):
        compare([runs[0], other])
    (tmp_path / "begun").mkdir()
    assert main([str(tmp_path / "begun")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "no finished run" in error
    assert main([str(runs[0]), "--figure", "f.gif"]) == 2
