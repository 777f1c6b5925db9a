"""A training that failed says what happened, what was tried and what to do; the reason of every rejection is true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.helpers import SMALLEST, simulated_cache, write_cache

from kidney_seg.config.run_config import Config
from kidney_seg.model.model_file import find_source
from kidney_seg.model.origin import origin_line
from kidney_seg.progressive.__main__ import main
from kidney_seg.progressive.acceptance import describe_round, end_round
from kidney_seg.progressive.verdict import NAN, find_failure, find_unjudged
from kidney_seg.run.journal import AttemptTrained, Journal, RoundPlayed

NO_TUMOR, NOTHING = "almost no tumor is predicted", "nothing but background is predicted"
SWALLOWS = "tumor swallows kidney (80 % of the foreground is called tumor, 20 % is)"
LONG, SHORT = Config(), Config().with_settings(["start_steps=2"])


def run_of(folder: Path, *troubles: str | None, later: str | None = "none") -> Journal:
    """A journal of one start for each of `troubles`, and of a later round unless `later` is "none"."""
    journal = Journal(folder)
    attempts = [
        journal.note(AttemptTrained(0, number, score=0.1 * number, trouble=trouble, steps=500, rate=0.001))
        for number, trouble in enumerate(troubles)
    ]
    best = journal.note(end_round(attempts, None, 0.002))
    if later != "none":
        attempt = journal.note(AttemptTrained(1, 0, score=0.05, trouble=later, steps=1000, rate=0.0007))
        journal.note(end_round([attempt], best, 0.002))
    return journal


@pytest.mark.parametrize(
    ("troubles", "config", "happened", "remedy"),
    [
        ([NO_TUMOR] * 3, LONG, "the network has collapsed: almost no tumor", "another --seed or more starts"),
        ([NOTHING] * 3, LONG, "the network has collapsed: nothing but background", "another --seed or more starts"),
        ([SWALLOWS] * 5, LONG, "the network has collapsed: tumor swallows kidney", "another --seed or more starts"),
        ([NAN] * 3, LONG, "the loss is NaN", "--set peak_rate=0.0001"),
        ([NOTHING], SHORT, "the network has collapsed: nothing", "train longer: --set start_steps=500"),
    ],
)
def test_a_run_whose_starts_all_failed(
    tmp_path: Path, troubles: list[str], config: Config, happened: str, remedy: str
) -> None:
    failure = find_failure(run_of(tmp_path, *troubles), config)
    first, tried, to_do = failure.lines()
    assert first.startswith(f"training failed: {happened}") and f"{len(troubles)} attempts" in first
    assert tried.startswith("tried: round 0, start 1 (500 steps, rate 0.001): ") and tried.count("start ") == len(
        troubles
    )
    assert to_do.startswith("to do: ") and remedy in to_do


def test_a_good_start_or_a_good_later_round_is_no_failure(tmp_path: Path) -> None:
    assert find_failure(run_of(tmp_path / "a", NAN, None, NO_TUMOR), LONG) is None
    assert (
        find_failure(run_of(tmp_path / "b", NO_TUMOR, SWALLOWS, later=None), LONG) is None
    )  # though its score is less
    assert find_failure(run_of(tmp_path / "c", NO_TUMOR, later=NO_TUMOR), LONG) is not None
    assert find_failure(Journal(tmp_path / "d"), LONG) is None  # nothing is played yet


def test_nothing_to_judge_by_is_a_failure_and_nothing_to_learn_is_none(tmp_path: Path) -> None:
    label = np.zeros((2, 16, 16), np.uint8)
    label[0, :4, :4] = 1
    with_tumor = label.copy()
    with_tumor[0, 0, :2] = 2
    image = np.zeros(label.shape, np.int16)
    manifest = write_cache(tmp_path, {"a": (image, with_tumor), "b": (image, label), "c": (image, label)})
    split = {"train": ["a", "c"], "validation": ["b"]}
    unjudged = find_unjudged(manifest, split, "validation")
    assert unjudged == "no patient of the validation set has a labeled tumor"
    failure = find_failure(run_of(tmp_path / "run", None), LONG, unjudged)
    assert failure.happened == f"there is nothing to judge by: {unjudged}" and "data_prep.split" in failure.remedy
    assert find_unjudged(manifest, {"train": ["b"], "validation": ["c"]}, "validation") is None  # kidneys alone
    assert find_unjudged(manifest, {"train": ["a"], "validation": ["a"]}, "validation") is None


def test_a_sound_round_replaces_a_collapsed_one_whatever_its_score() -> None:
    collapsed = RoundPlayed(0, accepted=True, score=0.4, trouble=SWALLOWS)
    assert end_round([AttemptTrained(1, 0, score=0.3)], collapsed, 0.002).accepted
    assert not end_round([AttemptTrained(1, 0, score=0.5, trouble=NAN)], collapsed, 0.002).accepted
    assert describe_round(collapsed, None, 0.002) == f"kept, though every start failed: {SWALLOWS}"
    assert describe_round(RoundPlayed(1, trouble=NAN), collapsed, 0.002) == "rejected: the loss is NaN"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated_cache(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    ("settings", "happened", "remedy"),
    [
        (["start_steps=4", "peak_rate=1e14", "warmup_share=0", "clipnorm=1e14"], NAN, "peak_rate=1e+13"),
        (["start_steps=1"], "the network has collapsed", "start_steps=500"),
    ],
)
def test_real_trainings_that_fail(cache: Path, tmp_path: Path, capsys, settings, happened, remedy) -> None:
    tiny = [
        "size=32",
        "width_factor=0.1",
        "starts=1",
        "retries=1",
        "max_rounds=0",
        "steps=1",
        "batch_size=2",
        *SMALLEST,
    ]
    arguments = ["--data", str(cache), "--out", str(tmp_path / "run"), "--set", *tiny, *settings]
    assert main(arguments) == 1
    lines = capsys.readouterr().out.strip().splitlines()[-3:]
    assert lines[0].startswith(f"training failed: {happened}") and "2 attempts" in lines[0]
    assert lines[1].startswith("tried: round 0, start 1 (") and remedy in lines[2]
    source = find_source(tmp_path / "run")
    assert source.trouble is not None
    assert origin_line([source]).endswith(f"; its training failed: {source.trouble}")
    assert main(arguments) == 1  # asked again
    assert capsys.readouterr().out.strip().splitlines()[-3:] == lines
