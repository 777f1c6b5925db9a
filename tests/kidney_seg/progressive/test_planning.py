"""The plan of every training: patients, samples, rate and weights; and which round is accepted."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from support.helpers import write_cache

from kidney_seg.config.run_config import Config
from kidney_seg.pipeline.slice_store import SliceStore
from kidney_seg.progressive.acceptance import end_round, needs_another
from kidney_seg.progressive.planning import plan_attempt
from kidney_seg.run.journal import AttemptTrained, RoundPlayed

CONFIG = Config().with_settings("size=16 batch_size=2 starts=2 start_steps=6 steps=4 retries=1 peak_rate=0.01".split())
BEST, LAST = RoundPlayed(1, accepted=True, score=0.5), RoundPlayed(2, accepted=False, score=0.4)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> SliceStore:
    label = np.zeros((4, 16, 16), np.uint8)
    label[1:3, 4:12, 4:12], label[2, 6:9, 6:9] = 1, 2
    cases = {f"case_{number:05d}": (np.zeros(label.shape, np.int16), label) for number in range(4)}
    manifest = write_cache(tmp_path_factory.mktemp("cache"), cases)
    return SliceStore(manifest, manifest.entries, 1.0)


def plan(store, place, start=None, config=CONFIG, seed=3):
    return plan_attempt(config, seed, store, [entry.patient for entry in store.entries], place, start)


def test_starts_train_on_all_patients_from_weights_of_their_own(store):
    first, second = plan(store, (0, 0)), plan(store, (0, 1))
    assert first.patients == second.patients == [entry.patient for entry in store.entries]
    assert (first.rate, first.steps, first.start) == (second.rate, second.steps, None) == (0.01, 6, None)
    assert (first.seed, second.seed) == (3000, 3001)
    assert (first.name, second.name) == ("round 0, start 1", "round 0, start 2")
    assert [len(epoch.case) for epoch in first.samples] == [2, 2, 2]  # at most five epochs of equal length
    assert any((a.transforms != b.transforms).any() for a, b in zip(first.samples, second.samples, strict=True))


def test_later_rounds_draw_patients_and_lower_the_rate(store):
    first, again = plan(store, (2, 0), BEST), plan(store, (2, 1), BEST)
    assert len(first.patients) == 2 and first.start is BEST and first.steps == 4
    assert first.rate == pytest.approx(0.01 * 0.7**2) and again.rate == first.rate / 2
    assert (first.name, again.name) == ("round 2", "round 2, attempt 2")
    assert first.place == {"round": 2, "attempt": 0}
    plain = plan(store, (1, 0), BEST, CONFIG.with_settings(["mode=plain", "max_rounds=3"]))
    assert (len(plain.patients), plain.steps) == (4, 12)


def test_a_plan_follows_from_seed_and_place_alone(store):
    one = plan(store, (3, 0), BEST)
    plan(store, (1, 0), BEST)  # what is planned in between changes nothing
    same, other = plan(store, (3, 0), BEST), plan(store, (3, 0), BEST, seed=4)
    for first, second, third in zip(one.samples, same.samples, other.samples, strict=True):
        for name, column in vars(first).items():
            np.testing.assert_array_equal(column, getattr(second, name))
        assert (first.transforms != third.transforms).any()


def test_rounds_that_start_anew_have_random_weights_of_their_own(store):
    first, second, other = plan(store, (1, 0)), plan(store, (2, 0)), plan(store, (1, 0), seed=4)
    seeds = [one.seed for one in (plan(store, (0, 0)), plan(store, (0, 1)), first, plan(store, (1, 1)), second, other)]
    assert len(set(seeds)) == len(seeds) and first.seed == plan(store, (1, 0)).seed
    warm = plan(store, (1, 0), BEST)  # only the weights differ
    assert (first.rate, first.patients, first.start) == (warm.rate, warm.patients, None)
    for one, same in zip(first.samples, warm.samples, strict=True):
        np.testing.assert_array_equal(one.transforms, same.transforms)


def test_planning_loads_no_tensorflow():
    code = "import sys, kidney_seg.progressive.planning; sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("troubles", "number", "expected"),
    [
        ([], 0, True),
        ([None], 0, True),  # all starts are trained
        ([None, "bad"], 0, False),
        (["bad", "bad"], 0, True),
        (["bad", "bad", "bad"], 0, False),  # no retries are left
        ([], 1, True),
        ([None], 1, False),
        (["bad"], 1, True),
        (["bad", "bad"], 1, False),
    ],
)
def test_a_round_is_retried_while_it_collapses(troubles, number, expected):
    attempts = [AttemptTrained(number, index, trouble=trouble) for index, trouble in enumerate(troubles)]
    assert needs_another(attempts, number, CONFIG) is expected


@pytest.mark.parametrize(
    ("scores", "best", "attempt", "accepted"),
    [
        ([(0.3, None), (0.6, None)], None, 1, True),
        ([(0.3, None), (0.9, "bad")], None, 0, True),  # a collapsed network is not chosen
        ([(0.2, "bad"), (0.1, "bad")], None, 0, True),  # unless there is no other; round 0 is always accepted
        ([(0.501, None)], BEST, 0, False),  # less than min_delta
        ([(0.503, None)], BEST, 0, True),
        ([(0.9, "bad")], BEST, 0, False),
    ],
)
def test_the_best_attempt_is_accepted_if_it_improves(scores, best, attempt, accepted):
    attempts = [AttemptTrained(4, n, score=score, trouble=bad) for n, (score, bad) in enumerate(scores)]
    record = end_round(attempts, best, min_delta=0.002)
    assert (record.round, record.attempt, record.accepted) == (4, attempt, accepted)
    assert (record.score, record.trouble) == scores[attempt]
