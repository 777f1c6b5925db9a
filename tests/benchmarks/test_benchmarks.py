"""What measures speed: rows worked out by hand, arms that fail, and that every benchmark runs."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.timed_arms import in_this_process

import benchmarks.__main__ as command
from benchmarks import startup
from benchmarks.data import metrics
from benchmarks.prediction import __main__ as predict_volume
from benchmarks.prediction import other_networks
from benchmarks.serving import __main__ as serving
from benchmarks.support import arms, page
from benchmarks.support import rows as rows_module
from benchmarks.support.arms import Arm, Timing, in_turn, spread
from benchmarks.support.machine import Others
from benchmarks.support.page import marks, read_place
from benchmarks.support.rows import MARK, Row, compared, speed_row, table, time_row
from benchmarks.training import __main__ as training
from kidney_seg import __main__ as startup_command

ROOT = Path(__file__).resolve().parents[2]
KEPT = sorted((ROOT / "benchmarks" / "figures").glob("*.json"))  # one file for each processor
EXAMPLES = (arms, training, other_networks, rows_module, page)
OURS, THEIRS = Timing((1.0, 2.0, 4.0), 100.0), Timing((2.0, 8.0, 4.0), 200.0)


def printed(text: str) -> dict[str, list[str]]:
    """Return the rows of a printed table: cells by name."""
    lines = [[cell for cell in line.split("  ") if cell] for line in text.splitlines()]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines if len(line) > 2}


def test_spread_by_hand() -> None:
    assert spread([5.0]) == 0.0
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx((4 - 2) / 2 / 3)
    assert spread((9.0, 10.0, 10.0, 13.0)) == pytest.approx((10.75 - 9.75) / 2 / 10)


def test_speed_by_hand() -> None:
    row = speed_row("ours", OURS, 12, "slices/s", yardstick=("theirs", THEIRS, 6), goal=">= 4")
    assert (row.median, row.unit, row.peak_mb, row.yardstick) == (6.0, "slices/s", 100.0, "theirs")
    # by turn: 12 against 3, 6 against 0.75, 3 against 1.5
    assert row.ratio == 4.0 and row.reached and row.ratio_spread == pytest.approx((6 - 3) / 2 / 4)
    alone = speed_row("ours", OURS, 12, "slices/s")
    assert alone.ratio is None and alone.yardstick == "" and alone.reached is None
    assert alone.spread == pytest.approx((3 - 1.5) / 2 / 2)


def test_times_by_hand() -> None:
    row = time_row("ours", OURS, yardstick=("theirs", THEIRS), work=0.5, goal="<= 1.0")
    assert (row.median, row.unit) == (2.0, "s")
    assert row.ratio == 1.0 and row.reached  # by turn, for half the work: 1, 0.5, 2
    assert time_row("ours", OURS, goal="<= 1.9").reached is False


def test_what_varies_too_much_is_marked() -> None:
    assert not Row("a", 1.0, "s", spread=0.1).noisy and Row("a", 1.0, "s", spread=0.11).noisy
    # where there is a ratio, it is what counts
    steady, shaky = Row("a", 1.0, "s", 0.5, ratio=2.0), Row("b", 1.0, "s", ratio=2.0, ratio_spread=0.2, goal=">= 3")
    assert not steady.noisy and shaky.noisy
    lines = table([steady, shaky, Row("c", 12345.6, "s", 0.2, 17.4)]).splitlines()
    assert lines[1].split() == ["a", "1", "s", "50", "%", "2.00"]
    assert lines[2].split() == ["b", "1", "s", "0", "%", f"{MARK}2.00", ">=", "3", "NO"]
    assert lines[3].split() == ["c", f"{MARK}12,346", "s", "20", "%", "17", "MB"]


def test_two_runs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = [Row("a", 2.0, "s", ratio=4.0, yardstick="x"), Row("gone", 1.0, "s")]
    new = [Row("a", 3.0, "s", ratio=5.0, yardstick="x"), Row("come", 0.0, "s")]
    text = compared(old, new)
    assert printed(text) == {
        "before": ["after", "unit", "after/before", "ratio before", "ratio after", "to"],
        "a": ["2", "3", "s", "1.50", "4.00", "5.00", "x"],
        "gone": ["1", "-", "s"],
        "come": ["-", "0", "s"],
    }
    for name, rows, version in (("old", old, "1.0"), ("new", new, "2.0")):
        rows_of = [{"rows": [vars(row) for row in rows]}]
        run = {"machine": {"numpy": version, "system": "same"}, "quick": name == "old", "benchmarks": rows_of}
        (tmp_path / name).write_text(json.dumps(run))
    assert command.main(["--compare", str(tmp_path / "old"), str(tmp_path / "new")]) == 0
    differs, quick, *lines = capsys.readouterr().out.splitlines()
    assert differs == "numpy: 1.0 -> 2.0" and "--quick" in quick and "\n".join(lines) == text
    (tmp_path / "old").write_text("[]")
    assert command.main(["--compare", str(tmp_path / "old"), str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_tables_of_a_file_have_their_place_in_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [vars(Row("a", 12345.6, "s", 0.2, 17.4)), vars(Row("b", 3.0, "s", ratio=0.5, yardstick="a"))]
    entry = {"name": "others", "seconds": 1.0, "others_share": 0.2, "product_rate": [100, 99], "rows": found}
    run = {"machine": {"processor": "X", "system": "Y"}, "quick": False, "benchmarks": [entry]}
    file, target = tmp_path / "found.json", tmp_path / "page.md"
    file.write_text(json.dumps(run))
    target.write_text("# Speed\n\n{}\nold\n{}\n\nAfter\n".format(*marks("benchmarks")))
    assert command.main(["--tables", str(file), "--into", str(target)]) == 0
    shown = capsys.readouterr().out.strip()
    assert shown == read_place(target, "benchmarks") and target.read_text().endswith("After\n")
    assert "processor X." in shown and "others used 20 % of the processors" in shown
    table_rows = ["| | median | spread | memory | ratio |", "|---|---|---|---|---|"]
    assert shown.splitlines()[-4:] == [*table_rows, "| a | 12,346 s | 20 % | 17 MB | |", "| b | 3 s | | | 0.50 of a |"]
    assert command.main(["--tables", str(file), str(file)]) == 0
    assert capsys.readouterr().out.strip() == f"{shown}\n\n{shown}"
    entry["name"] = "another"
    file.write_text(json.dumps(run))
    assert command.main(["--tables", str(file)]) == 2 and "unknown benchmark 'another'" in capsys.readouterr().err
    assert command.main(["--into", str(target)]) == 2 and "give --tables FILE" in capsys.readouterr().err


def test_arms_work_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "turns"
    both = {name: Arm("tests.support.timed_arms:noting", {"path": str(path), "name": name}) for name in "ab"}
    found = in_turn(both, 3, warm_up=2)
    assert path.read_text().split() == list("aabbababab")
    for timing in found.values():
        assert len(timing.seconds) == 3 and min(timing.seconds) > 0 and 5 < timing.peak_mb < 1000
        assert timing.parts == {"turns": (3.0, 4.0, 5.0)} and timing.part("turns").median == 4.0


@pytest.mark.parametrize("at", [0, 3])
def test_an_arm_that_fails_names_itself(tmp_path: Path, at: int) -> None:
    both = {
        "good one": Arm("tests.support.timed_arms:noting", {"path": str(tmp_path / "turns"), "name": "a"}),
        "bad one": Arm("tests.support.timed_arms:failing", {"at": at}),
    }
    with pytest.raises(RuntimeError, match=r"^bad one: ValueError: no more of this$"):
        in_turn(both, 5, warm_up=1)
    with pytest.raises(RuntimeError, match=r"^absent: .*no attribute 'absent'"):
        in_turn({"absent": Arm("tests.support.timed_arms:absent")}, 1)


def test_others_are_told_from_us(monkeypatch: pytest.MonkeyPatch) -> None:
    # user, nice, system, idle, waiting for disks, interrupts (two kinds), stolen; guests are counted in user
    moments = iter(["cpu 100 0 50 800 50 0 0 0 9 9\ncpu0", "cpu 150 10 60 890 60 5 5 20 9 9\ncpu0"])
    own = iter([(1.0, 0.5, 3.0, 0.0, 0.0), (1.2, 0.6, 3.2, 0.1, 0.0)])
    monkeypatch.setattr(
        "benchmarks.support.machine.Path", lambda path: SimpleNamespace(read_text=lambda: next(moments))
    )
    monkeypatch.setattr("os.times", lambda: os.times_result(next(own)))
    monkeypatch.setattr("os.sysconf", {"SC_CLK_TCK": 100}.get)
    # busy: 100 of 200 ticks; ours: 0.2 + 0.1 + 0.2 + 0.1 s
    assert Others().share() == pytest.approx((100 - 60) / 200)


def test_the_examples_hold() -> None:
    assert [doctest.testmod(module).attempted for module in EXAMPLES] == [1, 2, 1, 1, 1]
    assert not any(doctest.testmod(module).failed for module in EXAMPLES)


def test_an_unknown_package_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("benchmarks.training.step.NEEDS", ("no_such_package",))
    assert command.main(["--only", "step", "--quick"]) == 2
    assert "step: no_such_package is not installed" in capsys.readouterr().err


def test_every_command_is_started() -> None:
    ways = startup.ways()
    assert next(iter(ways)) == startup.PYTHON
    for module in startup_command.COMMANDS:
        arguments, code, goal_s = ways[f"{module} --help"]
        assert arguments == ["-m", module, "--help"] and module in code and goal_s == 0.5


def needing(name: str) -> list[pytest.MarkDecorator]:
    """Return a mark that skips a benchmark whose packages are not installed."""
    needs = getattr(importlib.import_module(f"benchmarks.{command.BENCHMARKS[name]}"), "NEEDS", ())
    absent = any(importlib.util.find_spec(package) is None for package in needs)
    return [pytest.mark.skipif(absent, reason="PyTorch (requirements-bench.txt) is not installed")]


# Whose arms run in processes of their own, as all do outside of tests; `machine` loads TensorFlow in one of them.
OWN_PROCESSES = ("machine", "build", "metrics")


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=needing(name)) for name in command.BENCHMARKS])
def test_every_benchmark_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"benchmarks.{command.BENCHMARKS[name]}")
    if name not in OWN_PROCESSES and hasattr(module, "in_turn"):
        monkeypatch.setattr(module, "in_turn", in_this_process)
    assert command.main(["--only", name, "--quick", "--json", str(tmp_path / "found.json")]) == 0
    run = json.loads((tmp_path / "found.json").read_text())
    assert run["quick"] and run["machine"]["python"]
    (entry,) = run["benchmarks"]
    rows = [Row(**row) for row in entry["rows"]]
    names = [row.name for row in rows]
    assert entry["name"] == name and rows and len(set(names)) == len(names)
    assert all(row.median >= 0 and (row.ratio is None or row.yardstick) for row in rows)
    assert table(rows) in capsys.readouterr().out


def test_the_command_of_one_benchmark_prints_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def rows(*options):
        asked.append(options)
        return iter([Row("what was found", 2.0, "s")])

    monkeypatch.setattr(predict_volume, "rows", rows)
    assert predict_volume.main("--quick --repeats 4 --preset demo --share 3".split()) == 0
    assert printed(capsys.readouterr().out)["what was found"] == ["2", "s", "0 %"]
    assert asked == [(True, 4, "demo", 3)]


@pytest.mark.slow
def test_the_scores_are_measured() -> None:
    rows = list(metrics.rows(quick=True))
    assert rows[0].reached  # the reference's scores
    found = printed(table(rows))
    what = f"scores, {' x '.join(map(str, metrics.QUICK_SHAPE))} voxels"
    assert [f"{what}: {row}" in found for row in ("largest difference", "reference", "ours", "both stages")] == [
        True
    ] * 4


@pytest.mark.slow
def test_a_server_under_load(exported: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert serving.main([str(exported[1]), "--quick", "--slices", "8", "--edge", "128"]) == 0
    _, _, grpc, rest = capsys.readouterr().out.splitlines()
    for line, name in ((grpc, "gRPC"), (rest, "REST")):
        protocol, rate, p50, p95, requests, errors, *_ = line.split()
        assert protocol == name and int(errors) == 0 and int(requests) >= 8
        assert float(rate) > 0 and 0 < float(p50) <= float(p95)


def test_a_training_is_measured(
    simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, asked = str(simulated), []

    def in_turn_by_hand(given: dict[str, Arm], turns: int, warm_up: int) -> dict[str, Timing]:
        ((name, arm),) = given.items()
        asked.append((name, arm.arguments, turns, warm_up))
        parts = {"step_ms": (40.0,), "waiting_percent": (3.5,), "memory_mb": (900.0,), "growth_mb": (2.0,)}
        return {name: Timing((1.0,), 1000.0, parts)}

    monkeypatch.setattr(training, "in_turn", in_turn_by_hand)
    small = ["--set", "width_factor=0.1", "--epochs", "3", "--steps", "2", "--arms", "from disk"]
    assert training.main([cache, *small, "--json", str(tmp_path / "found.json")]) == 0
    settings = {
        "cache": cache,
        "preset": "demo",
        "epochs": 3,
        "steps": 2,
        "settings": ["width_factor=0.1", "memory_gb=0"],
    }
    assert asked == [("from disk", settings, 1, 0)]
    found = {row["name"].split(", ")[-1]: Row(**row) for row in json.loads((tmp_path / "found.json").read_text())}
    assert [(name, row.median, row.unit, row.reached) for name, row in found.items()] == [
        ("a step", 40.0, "ms", None),
        ("of it waiting for data", 3.5, "%", False),
        ("memory at the end", 900.0, "MB", None),
        ("growth since epoch 5", 2.0, "MB", None),
    ]
    capsys.readouterr()
    for wrong in ([str(tmp_path), *small], [cache, "--set", "no_setting=1"], [cache, "--epochs", "2"]):
        assert training.main(wrong) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_page_shows_the_tables_of_the_kept_figures() -> None:
    assert read_place(ROOT / "docs" / "explanation" / "speed.md", "benchmarks") == command.tables(*KEPT).strip()


def test_readme_repeats_the_kept_figures() -> None:
    kept = [one for path in KEPT for one in json.loads(path.read_text())["benchmarks"]]
    (entry,) = [one for one in kept if one["name"] == "others"]
    seconds = [f"{row['median']:,.0f}" for row in entry["rows"]]
    (line,) = [
        line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| seconds")
    ]
    assert [found.group() for found in re.finditer(r"\d[\d,]*(?= )", line.split("|", 2)[2])] == seconds
