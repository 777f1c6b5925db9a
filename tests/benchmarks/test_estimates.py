"""Estimates on paper: figures worked out by hand, the network's operations counted by another program."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.estimates import Inputs, main, prediction, training
from kidney_seg.config.presets import PRESETS

# all that it prints; figures are those of the page before it was shortened
PRINTED = """\
| GPUs | batch | network, ms | exchange, ms | reading, ms | step, ms | all steps | validation | test | hours | USD |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| 1 | 8 | 18.4 | 0.0 | 9.2 | 23.4 | 269 s | 449 s | 789 s | 0.42 | 0.84 |
| 4 | 8 | 4.6 | 1.9 | 2.3 | 11.5 | 132 s | 449 s | 789 s | 0.38 | 3.04 |
| 16 | 16 | 2.3 | 6.8 | 1.1 | 14.1 | 162 s | 449 s | 789 s | 0.39 | 12.44 |

| on | network computes | computing, days | reading, days | days | USD |
| --- | --- | --- | --- | --- | --- |
| 1 GPU | 4 % of the time | 4.82 | 0.08 | 4.82 | 231 |
| 4 GPUs | 4 % of the time | 1.21 | 0.08 | 1.21 | 231 |
| 16 GPUs | 4 % of the time | 0.30 | 0.08 | 0.30 | 231 |
| 16 cores | 86 % of the time | 2.10 | 0.08 | 2.10 | 32 |
| 64 cores | 86 % of the time | 0.53 | 0.08 | 0.53 | 32 |
| 256 cores | 86 % of the time | 0.13 | 0.08 | 0.13 | 32 |

On disk: 6.8 TB of scans, 32 GB of labels.
"""
# a slice takes .2 ms: 1e10 operations at half of 1e14 a second
ROUND = Inputs(forward_gflop=10, peak_tflops=100, share=0.5, scans=100, slices=100, parameters=1e6)


def test_a_training_by_hand() -> None:
    one = training(Inputs(**vars(ROUND) | {"step_ms": 5.2, "judge_ms": 0.8, "scan_s": 1.0, "score_s": 0.98}), 1)
    assert one.step_ms == pytest.approx(8 * 0.2 * 3 + 5.2)  # and slices are made in 9.2
    assert one.steps_s == pytest.approx((3 * 500 + 10 * 1000) * 0.010)
    assert one.judging_s == pytest.approx(13 * 10 * 100 * 0.001)
    assert one.test_s == pytest.approx(20 * 2.0)
    assert one.hours == pytest.approx(168 / 3600) and one.usd == pytest.approx(2 * 168 / 3600)
    waits = training(Inputs(**vars(ROUND) | {"feed_ms": 10.0}), 1)
    assert waits.step_ms == waits.feed_ms == 40.0


def test_what_several_gpus_tell_each_other_by_hand() -> None:
    four, many = training(ROUND, 4), training(ROUND, 16)
    assert (four.batch, many.batch) == (8, 16)
    assert four.exchange_ms == pytest.approx(1.5 * 4e6 / 200e9 * 1000 + 57 * 0.03)  # one host
    assert many.exchange_ms == pytest.approx(1.875 * 4e6 / 12.5e9 * 1000 + 57 * 0.06)
    assert (four.compute_ms, many.compute_ms) == (pytest.approx(1.2), pytest.approx(0.6))
    assert four.usd == pytest.approx(four.hours * 4 * 2)


def test_a_prediction_by_hand() -> None:
    inputs = Inputs(**vars(ROUND) | {"many": 86400, "scan_s": 1.0, "core_ms": 10.0, "disk_gb_s": 0.01})
    cores, gpu = prediction(inputs, cores=16), prediction(inputs, gpus=1)
    assert (cores.busy, cores.compute_days) == (0.5, 0.125)
    assert (gpu.busy, gpu.compute_days) == (pytest.approx(0.02 / 1.02), pytest.approx(1.02))
    assert cores.days == cores.read_days == pytest.approx(100 * 512 * 512 * 2 * 0.6 / 1e7)
    assert cores.usd == pytest.approx(cores.days * 24 * 16 * 0.04)


def test_the_counts_are_those_of_the_network_and_of_tensorflows_profiler() -> None:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from kidney_seg.model.attention_unet import build_model

    model = build_model(PRESETS["paper"].model)
    size = PRESETS["paper"].model.size
    graph = tf.function(lambda image: model({"image": image})).get_concrete_function(tf.TensorSpec((1, size, size, 1)))
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output().build()
    counted = profiler.profile(convert_variables_to_constants_v2(graph).graph, options=options).total_float_ops
    assert Inputs().forward_gflop == pytest.approx(counted / 1e9, rel=0.01)  # which counts biases, too
    assert Inputs().parameters == sum(math.prod(variable.shape) for variable in model.trainable_variables)
    assert Inputs().norms == sum(layer.name.endswith(("norm", "norm1", "norm2")) for layer in model.layers)


def test_the_tables_of_the_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    page = (Path(__file__).resolve().parents[2] / "docs" / "explanation" / "measurements" / "scale.md").read_text()
    printed = capsys.readouterr().out
    assert printed == PRINTED
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("|")]
    heads = [number for number, row in enumerate(rows) if row[-1] == "USD"]
    trainings, predictions = rows[heads[0] : heads[1]], rows[heads[1] :]
    tables = ((trainings, ("GPUs", "hours", "USD"), 4), (predictions, ("on", "days", "USD"), 7))
    for table, shown, count in tables:
        columns = [table[0].index(name) for name in shown]
        lines = [f"| {' | '.join(row[column] for column in columns)} |" for row in table if row[0] != "---"]
        assert len(lines) == count and all(line in page for line in lines)
    assert printed.splitlines()[-1] in page
    assert main(["--peak-tflops", "0"]) == 2
    assert capsys.readouterr().err == "error: --peak-tflops 0: expected a number above 0\n"
