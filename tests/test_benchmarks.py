from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import simulated_cache

from benchmarks import build_cases, metrics, predict_volume, serving, training


@pytest.mark.slow
def test_the_build_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert build_cases.main(["--quick", "--repeats", "1"]) == 0
    heads, *rows, goals = capsys.readouterr().out.splitlines()
    assert heads.split()[0] == "slices" and goals.startswith("goals: ")
    assert [int(row.split()[0]) for row in rows] == list(build_cases.QUICK_SLICES)
    for row in rows:
        _, inflate_s, read_s, build_s, by_read, by_inflate, mb = map(float, row.split())
        assert build_s > read_s / 2 > 0 and inflate_s > 0 and by_read > 0 and by_inflate > 0
        assert 50 < mb < build_cases.GOAL_MB


@pytest.mark.slow
def test_the_scores_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert metrics.main(["--quick"]) == 0
    first, *rows, goal = capsys.readouterr().out.splitlines()
    assert float(first.split()[-1]) < 1e-6 and "goal" in goal
    assert [row[:11].strip() for row in rows] == ["reference", "ours", "both stages"]


@pytest.mark.slow
def test_prediction_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert predict_volume.main(["--quick", "--repeats", "1"]) == 0
    _, heads, *rows, ratio, keras_mb, onnx_mb, goals = capsys.readouterr().out.splitlines()
    assert heads.split() == " ".join(("engine", *predict_volume.STEPS, "all", "network %")).split()
    assert goals.startswith("goals: ")
    assert [row.split()[0] for row in rows] == list(predict_volume.ENGINES)
    for row in rows:
        *steps, whole, share = map(float, row.split()[1:])
        assert sum(steps) == pytest.approx(whole, abs=0.05) and 0 < share < 100
    assert float(ratio.split()[3]) > 0
    for line in (keras_mb, onnx_mb):
        assert 0 < float(line.split()[4]) < 2000


@pytest.mark.slow
def test_a_server_under_load(exported: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert serving.main([str(exported[1]), "--quick", "--slices", "8", "--edge", "128"]) == 0
    _, _, grpc, rest = capsys.readouterr().out.splitlines()
    for line, name in ((grpc, "gRPC"), (rest, "REST")):
        protocol, rate, p50, p95, requests, errors, *_ = line.split()
        assert protocol == name and int(errors) == 0 and int(requests) >= 8
        assert float(rate) > 0 and 0 < float(p50) <= float(p95)


@pytest.mark.slow
def test_a_training_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = str(simulated_cache(tmp_path))
    small = ["--set", "width_factor=0.1", "--epochs", "3", "--steps", "2", "--arms", "from disk"]
    assert training.main([cache, *small, "--json", str(tmp_path / "found.json")]) == 0
    _, heads, row = capsys.readouterr().out.splitlines()
    assert heads.split()[0] == "arm" and row.startswith("from disk")
    found = json.loads((tmp_path / "found.json").read_text())["from disk"]
    assert [one["steps"] for one in found["rows"]] == [2, 4, 6] and len(found["rss_mb"]) == 3
    assert found["ms_a_step"] > 0 and 0 <= found["waiting_percent"] < 100 and found["memory_mb"] > 100
    assert training.main([str(tmp_path), *small]) == 2
    assert capsys.readouterr().err.count("\n") == 1
