"""Time left: a run of an hour on a simulated clock, also after a stop; no second is waited."""

from __future__ import annotations

from pathlib import Path

import pytest

from kidney_seg.config.run_config import Config
from kidney_seg.progressive.clock import RunClock
from kidney_seg.run.journal import AttemptTrained, Journal

CONFIG = Config().with_settings(["starts=3", "start_steps=300", "steps=400", "max_rounds=5"])
STEP_S, VALIDATION_S, TEST_S = 1.1, 35.0, 120.0
PLAN = [(0, 0, 300), (0, 1, 300), (0, 2, 300), *((number, 0, 400) for number in range(1, 6))]
TOTAL_S = 2900 * STEP_S + 8 * VALIDATION_S + TEST_S


def played(clock: RunClock, seconds: list[float], plan: list[tuple[int, int, int]]) -> list[tuple[float, float]]:
    """Return (time so far, estimated total) after every step, on a clock whose first step is not ticked."""
    found = []
    for place, (number, attempt, steps) in enumerate(plan):
        clock.start()
        for step in range(steps):
            seconds[0] += STEP_S + 0.2 * ((step % 7) / 3 - 1)  # steps differ
            if place or step:
                clock.tick()
            if (left := clock.left_s(number, attempt, steps - step - 1)) is not None:
                found.append((seconds[0], seconds[0] + left[1]))
        seconds[0] += VALIDATION_S
        clock.validated()
    return found


def test_an_hour_is_estimated_within_a_fifth_after_its_first_tenth() -> None:
    seconds = [0.0]
    clock = RunClock(CONFIG, validation_slices=600, test_slices=1000, now=lambda: seconds[0])
    found = played(clock, seconds, PLAN)
    real = seconds[0] + TEST_S
    assert 3000 < real < 4200
    late = [total for now, total in found if now > real / 10]
    assert late and max(abs(total - real) for total in late) < 0.2 * real


def test_after_a_stop_the_journal_gives_the_seconds_of_a_step(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    rows = [
        {"epoch": 0, "steps": 100, "loss": 0.5, "seconds": 140.0, "waited": 0.0},  # with its preparation
        {"epoch": 1, "steps": 300, "loss": 0.4, "seconds": 220.0, "waited": 0.0},
    ]
    for attempt in range(3):
        journal.note(AttemptTrained(0, attempt, steps=300, history=rows))
    clock = RunClock(CONFIG, validation_slices=600, test_slices=1000)
    assert clock.left_s(1, 0, 400) is None
    clock.resume(journal)
    assert clock.step_s == pytest.approx(1.1)
    own, whole = clock.left_s(1, 0, 400)
    assert own == pytest.approx(440, rel=0.2)
    assert whole == pytest.approx(2000 * 1.1 + 5 * VALIDATION_S + TEST_S, rel=0.2)


def test_a_pause_is_no_long_step() -> None:
    seconds = [0.0]
    clock = RunClock(CONFIG, now=lambda: seconds[0])
    clock.start()
    for step in range(250):
        seconds[0] += 3600.0 if step in (40, 41) else STEP_S  # the computer sleeps, twice
        clock.tick()
        assert clock.step_s is None or clock.step_s == pytest.approx(STEP_S)
    for _ in range(250):  # a machine that becomes slower is no pause
        seconds[0] += 5 * STEP_S
        clock.tick()
    assert clock.step_s == pytest.approx(5 * STEP_S)
