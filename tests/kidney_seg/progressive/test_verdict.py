"""A training that failed says what happened, what was tried and what to do; the reason of every rejection is true."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.helpers import SMALLEST, noise_cases, save, write_cache

from data_prep.build.builder import build
from data_prep.files.json_files import write_json
from data_prep.geometry.network_grid import GridSettings
from data_prep.split.sets import make_split
from kidney_seg.config.run_config import Config
from kidney_seg.model.model_file import find_source
from kidney_seg.model.trained_on import origin_line
from kidney_seg.progressive.__main__ import main
from kidney_seg.progressive.acceptance import describe_round, end_round
from kidney_seg.progressive.driver import train
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
def cache(simulated) -> Path:
    return simulated


TINY = ["size=32", "width_factor=0.1", "starts=1", "retries=1", "start_steps=2", "max_rounds=0", "steps=1"]
TINY += ["batch_size=2", *SMALLEST]
ALL_KIDNEY, ALL_TUMOR = "odds=1,1e9,1e-9", "odds=1,1e-9,1e9"
COLLAPSED = "the network has collapsed: "
TRAIN_LONGER = "to do: train longer: --set start_steps=500"


def failed(cache: Path, run: Path, capsys: pytest.CaptureFixture[str], *settings: str) -> list[str]:
    """Train with settings beside TINY, which must fail; return the last three lines."""
    assert main(["--data", str(cache), "--out", str(run), "--set", *TINY, *settings]) == 1
    return capsys.readouterr().out.strip().splitlines()[-3:]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(
    ("settings", "happened", "attempts", "remedy"),
    [
        (["start_steps=4", "peak_rate=1e14", "warmup_share=0", "clipnorm=1e14"], NAN, 2, "peak_rate=1e+13"),
        (["start_steps=1"], "the network has collapsed: ", 2, TRAIN_LONGER),
        ([ALL_KIDNEY], f"the network has collapsed: {NO_TUMOR}", 2, TRAIN_LONGER),
        (["odds=1,1e-9,1e-9", "retries=0"], f"the network has collapsed: {NOTHING}", 1, TRAIN_LONGER),
        ([ALL_TUMOR, "starts=2"], "the network has collapsed: tumor swallows kidney (", 3, TRAIN_LONGER),
        ([ALL_TUMOR, "max_rounds=1", "retries=0"], f"{COLLAPSED}tumor swallows", 2, "round 1, attempt 1 ("),
        ([ALL_KIDNEY, "start_steps=100", "retries=0"], COLLAPSED, 1, "another --seed or more starts"),
    ],
)  # fmt: skip
def test_real_trainings_that_fail(cache, tmp_path: Path, capsys, settings, happened, attempts, remedy) -> None:
    lines = failed(cache, tmp_path / "run", capsys, *settings)
    assert lines[0].startswith(f"training failed: {happened}") and f"the best of {attempts} attempts)" in lines[0]
    assert lines[1].startswith("tried: round 0, start 1 (") and lines[1].count("rate") == attempts
    assert lines[2].startswith("to do: ") and remedy in lines[1] + lines[2]
    source = find_source(tmp_path / "run")
    assert source.trouble is not None and source.trouble in lines[0]
    assert origin_line([source]).endswith(f"; its training failed: {source.trouble}")
    if happened == NAN:
        assert failed(cache, tmp_path / "run", capsys, *settings) == lines  # asked again
    assert "training failed" in (tmp_path / "run" / "report.html").read_text().lower()


@pytest.mark.slow
@pytest.mark.network
def test_a_failing_run_that_was_killed_between_its_starts(cache, tmp_path: Path, capsys) -> None:
    settings = [ALL_TUMOR, "starts=2", "retries=0"]

    def killed(line: str) -> None:
        if line.startswith("round 0, start 2"):
            raise RuntimeError("killed")

    config = Config().with_settings([*TINY, *settings])
    with pytest.raises(RuntimeError, match="killed"):
        train(cache, tmp_path / "run", config, seed=0, say=killed)
    lines = failed(cache, tmp_path / "run", capsys, *settings)
    assert "tumor swallows kidney" in lines[0] and "(the best of 2 attempts)" in lines[0]
    assert lines[1].count("start ") == 2 and lines == failed(cache, tmp_path / "undisturbed", capsys, *settings)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A cache of four patients: two with kidney and tumor, one with a kidney alone, one without labels; its split."""
    root = noise_cases(tmp_path_factory.mktemp("noise") / "patients", 4)
    for number, most in ((2, 1), (3, 0)):
        path = root / f"case_{number:05d}" / "segmentation.nii.gz"
        labels = np.asarray(nibabel.load(path).dataobj)
        save(path, np.minimum(labels, most).astype(np.uint8))
    manifest = build(root, root.parent / "cache", GridSettings(32)).manifest
    return root.parent / "cache", make_split(manifest, (0.5, 0.25, 0.25))


def with_sets(noise: tuple[Path, dict[str, object]], path: Path, **sets: list[int]) -> Path:
    named = {name: [f"case_{number:05d}" for number in numbers] for name, numbers in sets.items()}
    write_json(path, noise[1] | named)
    return path


@pytest.mark.slow
@pytest.mark.network
def test_no_tumor_to_judge_by_is_said_last(noise, tmp_path: Path, capsys) -> None:
    split = with_sets(noise, tmp_path / "split.json", train=[0], validation=[2], test=[1])
    words = ["--data", str(noise[0]), "--split", str(split), "--out", str(tmp_path / "run"), "--set", *TINY, ALL_KIDNEY]
    assert main(words) == 1
    printed = capsys.readouterr().out
    assert "warning: no patient of the validation set has a labeled tumor: rounds are chosen by the kidney" in printed
    first, tried, to_do = printed.strip().splitlines()[-3:]
    assert first == (
        "training failed: there is nothing to judge by: no patient of the validation set has a labeled tumor"
    )
    assert tried.startswith("tried: round 0, start 1 (2 steps, rate ") and "python -m data_prep.split" in to_do
    assert find_source(tmp_path / "run").trouble is None


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"train": [0], "validation": [], "test": [1, 2, 3]}, "validation"),
        ({"train": [0, 1], "validation": [3], "test": [2]}, "no patient of the validation set has a labeled kidney"),
        ({"train": [3], "validation": [0], "test": [1, 2]}, "no patient of the train set has a labeled kidney"),
        ({"train": [], "validation": [0], "test": [1, 2, 3]}, "train"),
    ],
)  # fmt: skip
def test_sets_that_cannot_be_trained_or_judged_by_are_refused(noise, tmp_path: Path, capsys, sets, said) -> None:
    split = with_sets(noise, tmp_path / "split.json", **sets)
    words = ["--data", str(noise[0]), "--split", str(split), "--out", str(tmp_path / "run"), "--set", *TINY]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {split}: ") and said in line
    assert not (tmp_path / "run" / "best.keras").exists()
