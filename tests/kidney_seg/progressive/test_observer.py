"""What is reported of a training: lines, curves, TensorBoard; nothing is trained."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from kidney_seg.config.run_config import Config
from kidney_seg.figures.overlays import Example
from kidney_seg.progressive.observer import RoundObserver
from kidney_seg.progressive.planning import Attempt
from kidney_seg.progressive.validation import Validation
from kidney_seg.run import layout
from kidney_seg.run.folder import RunFolder
from kidney_seg.run.journal import AttemptTrained, RoundPlayed

CONFIG = Config().with_settings(["batch_size=4"])
EPOCH = SimpleNamespace(case=np.zeros((3, 4)))  # of three steps


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run", CONFIG, {"seed": 1, "data_sha256": "d", "split_sha256": "s"})
    yield folder
    folder.close()


def row(epoch: int, loss: float | None, waited: float = 0.0) -> dict:
    return {"epoch": epoch, "steps": 3 * (epoch + 1), "loss": loss, "rate": 0.1, "seconds": 2.0, "waited": waited}


def test_an_attempt_from_its_plan_to_its_score(run, monkeypatch):
    log: list[str] = []
    observer = RoundObserver(run, CONFIG, log.append)
    seconds = [100.0]
    monkeypatch.setattr("kidney_seg.progressive.observer.time.monotonic", lambda: seconds[0])
    observer.clock.now = lambda: seconds[0]
    attempt = Attempt(1, 0, ["a", "b"], [EPOCH, EPOCH], 0.1, None, 1000)
    observer.attempt_planned(attempt)
    observer.attempt_started(attempt, [], 0)
    for step, at in enumerate((105.0, 110.0, 112.0), 1):
        seconds[0] = at
        observer.step_ended(step, 0.6)
    observer.epoch_ended(row(0, 0.5))
    assert (run.root / layout.CURVES).is_file()
    seconds[0] = 190.0
    observer.step_ended(4, 0.55)  # more than a minute after the last line
    seconds[0] = 192.0
    observer.step_ended(5, 0.5)
    observer.epoch_ended(row(1, None, waited=0.5))
    image, label = np.zeros((8, 8)), np.zeros((8, 8), np.uint8)
    observer.attempt_validated(Validation(0.8, None, 0.8, None), [Example(image, label, label, "worst")])
    assert (run.root / layout.worst_cases(1, 0)).is_file()
    assert list((run.root / layout.tensorboard(1, 0)).iterdir())
    record = AttemptTrained(1, 0, kidney=0.8, score=0.8, cases=[{}, {}])
    observer.attempt_trained(record)
    assert log[0] == "round 1: 6 steps of 4 slices of 2 patients, rate 0.1"
    assert log[1] == "round 1: the first step is prepared, which takes about 20 s"
    assert log[2].startswith("round 1: epoch 1/2  loss 0.5000  12 s; left: round 6 s, run up to ")
    assert log[3].startswith("round 1: step 4/6  loss 0.5500; left: round ")
    assert log[4].startswith("round 1: epoch 2/2  loss NaN  92 s, 25% of the epoch waiting for data; left: round ")
    assert log[5:] == ["round 1: score 0.800 (Dice of 2 validation cases: kidney 0.800, tumor not judged)"]


def test_a_resumed_attempt_and_its_round(run):
    log: list[str] = []
    observer = RoundObserver(run, CONFIG, log.append)
    attempt = Attempt(0, 1, ["a"], [EPOCH, EPOCH], 0.1, None, 1001)
    observer.attempt_started(attempt, [row(0, 0.5)], 4)
    observer.epoch_ended(row(1, 0.25))
    assert [done["steps"] for done in observer.rows] == [3, 6]
    first = RoundPlayed(0, accepted=True, score=0.5)
    observer.round_played(first, None)
    observer.round_played(RoundPlayed(1, accepted=False, score=0.4), first)
    assert log[0] == "round 0, start 2: resumed after step 4"
    failed = RoundPlayed(2, accepted=False, score=0.7, trouble="almost no tumor is predicted")
    observer.round_played(failed, first)
    assert log[3:] == [
        "round 0: score 0.500, accepted",
        "round 1: score 0.400, rejected, not 0.002 better than 0.500",
        "round 2: score 0.700, rejected: almost no tumor is predicted",
    ]
