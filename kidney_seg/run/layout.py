"""Names of the files in a run folder, relative to it."""

from __future__ import annotations

from pathlib import Path

CONFIG = Path("config.json")  # settings; only a run folder holds it
MANIFEST = Path("manifest.json")  # seed, data, split, settings, versions, devices: enough to repeat the run
JOURNAL = Path("journal.jsonl")  # one line per event
PRETRAINED = Path("pretrained.keras")  # copy of the initial weights, if given
BEST_MODEL = Path("best.keras")  # model of the best round
CURVES = Path("progress.png")  # loss and Dice
REPORT = Path("report.html")
CHECKPOINTS = Path("checkpoints")  # of the round in progress
TEST = Path("evaluation") / "test"  # label maps and scores of the test patients
SCORES = TEST / "scores.json"
OVERLAYS = TEST / "overlays.png"
ROUNDS = Path("rounds")
WORST_CASES = "*/worst*.png"  # of all attempts, below ROUNDS


def history(number: int) -> Path:
    """Return the table of a round's epochs."""
    return ROUNDS / f"{number:02d}" / "history.csv"


def weights(number: int, attempt: int) -> Path:
    """Return the weights of an attempt."""
    return ROUNDS / f"{number:02d}" / f"attempt{attempt}.weights.h5"


def worst_cases(number: int, attempt: int) -> Path:
    """Return the picture of an attempt's worst validation cases."""
    return ROUNDS / f"{number:02d}" / f"worst{attempt}.png"


def tensorboard(number: int, attempt: int) -> Path:
    """Return the folder of an attempt's TensorBoard log."""
    return Path("logs") / f"round{number:02d}-attempt{attempt + 1}"
